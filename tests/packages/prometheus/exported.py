"""A cache of ours whose hits django-prometheus counts, in the way of its own backends.

The package's tests of its caches are not in its source package.
"""

from django.core.cache import caches
from django_prometheus.testutils import assert_metric_diff, save_registry


def test_hits_and_misses_are_counted():
    cache = caches["default"]
    cache.clear()
    frozen = save_registry()
    cache.set("key", "value")
    assert cache.get("key") == "value"
    assert cache.get("missing") is None
    assert cache.get("missing", "a default") == "a default"
    # Django calls get() from here: nothing goes past the counters.
    assert cache.get_or_set("key", "other") == "value"
    assert_metric_diff(frozen, 4, "django_cache_get_total", backend="counted")
    assert_metric_diff(frozen, 2, "django_cache_get_hits_total", backend="counted")
    assert_metric_diff(frozen, 2, "django_cache_get_misses_total", backend="counted")
