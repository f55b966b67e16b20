"""Backends of ours that count as those of django_prometheus.cache.backends do."""

from django_prometheus.cache.metrics import (
    django_cache_get_total,
    django_cache_hits_total,
    django_cache_misses_total,
)

from nearcache import django


class Counted:
    def get(self, key, default=None, version=None):
        django_cache_get_total.labels(backend="counted").inc()
        value = super().get(key, default=None, version=version)
        if value is None:
            django_cache_misses_total.labels(backend="counted").inc()
            return default
        django_cache_hits_total.labels(backend="counted").inc()
        return value


class LocalCache(Counted, django.LocalCache):
    pass


class SharedCache(Counted, django.SharedCache):
    pass
