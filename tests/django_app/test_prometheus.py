"""The metrics for prometheus_client: names, values, and use beside django-prometheus."""

import os
import re
import sys
import textwrap
import time

import pytest
from django.core.cache import caches
from django.test import override_settings
from prometheus_client import CollectorRegistry, Counter, generate_latest

from nearcache.django.prometheus import CacheCollector, register
from support.flights import leading, waiters
from support.isolated import run, start

OURS = "nearcache.django.LocalCache"
LOCMEM = "django.core.cache.backends.locmem.LocMemCache"

SITE = """
from django.conf import settings
settings.configure(CACHES={
    "default": {"BACKEND": "nearcache.django.LocalCache", "LOCATION": "ours"},
    "theirs": {"BACKEND": "django_prometheus.cache.backends.locmem.LocMemCache", "LOCATION": "theirs"},
}, **EXTRA)
import django
django.setup()
from django.core.cache import caches
from prometheus_client import REGISTRY, generate_latest
from nearcache.django.prometheus import register
"""


@pytest.fixture
def configured():
    """Configure caches, two of which share a store; return the settings."""
    settings = {
        "default": {"BACKEND": OURS, "LOCATION": "prometheus"},
        "same": {"BACKEND": OURS, "LOCATION": "prometheus", "OPTIONS": {"MAX_ENTRIES": 5}},
        "bounded": {"BACKEND": OURS, "LOCATION": "prometheus bounded", "OPTIONS": {"MAX_ENTRIES": 2}},
        "other": {"BACKEND": LOCMEM},
    }
    with override_settings(CACHES=settings):
        for alias in ("default", "bounded"):
            caches[alias].clear()
            caches[alias].reset_stats()
        yield settings
        for alias in ("default", "bounded"):
            caches[alias].clear()


@pytest.fixture
def registry():
    """Return a registry of its own, with our collector."""
    registry = CollectorRegistry(auto_describe=True)
    register(registry)
    return registry


def exposed(text):
    """Read what is exposed: each series and its number."""
    return {
        series: float(number)
        for series, number in (line.rsplit(" ", 1) for line in text.splitlines() if line and line[0] != "#")
    }


def series(registry):
    return exposed(generate_latest(registry).decode())


class TestDjangoNames:
    def test_sum_all_our_caches(self, configured, registry):
        caches["default"].set("key", 1)
        caches["default"].get_many(["key", "missing", "none"])
        caches["bounded"].get("missing")
        found = series(registry)
        assert {name: found[name] for name in found if name.startswith("django")} == {
            'django_cache_get_total{backend="nearcache"}': 4,
            'django_cache_get_hits_total{backend="nearcache"}': 1,
            'django_cache_get_misses_total{backend="nearcache"}': 3,
        }

    def test_are_counters(self, configured, registry):
        text = generate_latest(registry).decode()
        assert "# TYPE django_cache_get_total counter" in text
        assert "# HELP django_cache_get_hits_total Total hits on cache" in text

    def test_have_django_prometheus_s_namespace(self, configured):
        registry = CollectorRegistry()
        with override_settings(PROMETHEUS_METRIC_NAMESPACE="shop"):
            registry.register(CacheCollector())
        assert 'shop_django_cache_get_total{backend="nearcache"}' in series(registry)
        assert 'nearcache_entries{cache="default"}' in series(registry)


class TestOwnNames:
    def test_have_the_values_of_stats(self, configured, registry):
        cache = caches["bounded"]
        cache.set_many({"a": 1, "b": 2, "c": 3})
        cache.get_many(["a", "b", "c"])
        cache.delete_many(["a", "b", "c"])
        cache.set("d", 4)
        stats = cache.stats()
        found = series(registry)
        for name in ("hits", "misses", "sets", "deletes", "evictions", "expirations", "rejections"):
            assert found[f'nearcache_{name}_total{{cache="bounded"}}'] == getattr(stats, name)
        assert found['nearcache_entries{cache="bounded"}'] == 1
        assert found['nearcache_memory_bytes{cache="bounded"}'] == stats.memory
        assert found['nearcache_max_entries{cache="bounded"}'] == 2

    def test_have_the_counts_of_get_or_set(self, configured, registry, caplog):
        cache = caches["bounded"]
        cache.get_or_set("key", lambda: time.sleep(0.01) or "old", 1000, stale=1000)
        cache.get("key")
        with leading(cache, "other") as (computation, _):
            calls = waiters(cache, 2, key="other")
            computation.finish()
            assert [one.result for one in calls] == ["leader's"] * 2
        cache.pexpire("key", 1)
        while "key" in cache:
            time.sleep(0.01)
        with leading(cache, "key", stale=1000) as (computation, _):
            assert cache.get_or_set("key", lambda: "own", stale=1000) == "old"
            computation.finish(ZeroDivisionError())
        stats = cache.stats()
        # The leader got the old value, too.
        assert (stats.flights, stats.waits, stats.stale_hits) == (3, 2, 2)
        assert (stats.refreshes, stats.failed_refreshes) == (1, 1)
        assert stats.time_saved >= 0.01
        found = series(registry)
        for name, field in (
            ("flights_total", "flights"),
            ("waits_total", "waits"),
            ("expired_hits_total", "stale_hits"),
            ("refreshes_total", "refreshes"),
            ("failed_refreshes_total", "failed_refreshes"),
            ("time_saved_seconds_total", "time_saved"),
        ):
            assert found[f'nearcache_{name}{{cache="bounded"}}'] == getattr(stats, field)

    def test_omit_bounds_that_are_none(self, configured, registry):
        found = series(registry)
        assert 'nearcache_max_memory_bytes{cache="bounded"}' not in found
        assert 'nearcache_max_entries{cache="default"}' not in found
        assert found['nearcache_max_memory_bytes{cache="default"}'] == 64 * 1024**2

    def test_report_a_store_once(self, configured, registry):
        labels = {match for name in series(registry) for match in re.findall(r'cache="(.*)"', name)}
        assert labels == {"default", "bounded"}

    def test_are_all_described(self, configured, registry):
        described = {metric.name for metric in CacheCollector().describe()}
        assert described == {metric.name for metric in registry.collect()}

    def test_are_read_at_each_collection(self, configured, registry):
        before = series(registry)['nearcache_sets_total{cache="default"}']
        caches["default"].set("key", 1)
        assert series(registry)['nearcache_sets_total{cache="default"}'] == before + 1


@pytest.mark.skipif(sys.platform != "linux", reason="SharedCache is for Linux")
class TestShared:
    @pytest.fixture
    def path(self, shared_memory):
        """Configure a cache in a file, under two aliases."""
        path = shared_memory / f"prometheus-{os.urandom(4).hex()}"
        shared = {
            "BACKEND": "nearcache.django.SharedCache",
            "LOCATION": str(path),
            "OPTIONS": {"MAX_MEMORY": "1MB"},
        }
        with override_settings(CACHES={"default": {"BACKEND": OURS}, "shared": shared, "again": shared}):
            yield path

    def test_counts_all_processes(self, path, registry):
        caches["shared"].set("key", 1)
        program = """
            import sys
            from django.conf import settings
            settings.configure(SECRET_KEY="tests")
            from nearcache.django import SharedCache
            cache = SharedCache(sys.argv[1], {"OPTIONS": {"MAX_MEMORY": "1MB"}})
            cache.get("key"), cache.get("none"), cache.set("two", 2)
        """
        run("-c", textwrap.dedent(program), str(path))
        found = series(registry)
        for name, number in {"hits": 1, "misses": 1, "sets": 2, "timeouts": 0, "recoveries": 0}.items():
            assert found[f'nearcache_{name}_total{{cache="shared"}}'] == number
        assert found['nearcache_written_bytes_total{cache="shared"}'] > 0
        assert found['nearcache_max_memory_bytes{cache="shared"}'] == 1024**2
        # Another name of the file is not another cache.
        assert not [name for name in found if 'cache="again"' in name]

    def test_has_counters_that_a_local_cache_lacks(self, path, registry):
        of = {
            alias: {name.partition("{")[0] for name in series(registry) if f'cache="{alias}"' in name}
            for alias in ("default", "shared")
        }
        more = ("unreadable", "recoveries", "damages", "timeouts", "written_bytes", "moved_bytes")
        objects = {"nearcache_object_hits_total", "nearcache_object_entries", "nearcache_object_memory_bytes"}
        assert of["shared"] - of["default"] == {f"nearcache_{name}_total" for name in more} | objects


class TestRegistry:
    def test_without_a_cache_of_ours_has_no_numbers(self, registry):
        with override_settings(CACHES={"default": {"BACKEND": LOCMEM}}):
            assert series(registry) == {}

    def test_refuses_a_second_collector_and_is_unchanged(self, configured, registry):
        with pytest.raises(ValueError, match="Duplicated timeseries"):
            register(registry)
        assert 'nearcache_entries{cache="default"}' in series(registry)

    def test_refuses_names_that_exist(self):
        registry = CollectorRegistry()
        Counter("django_cache_get_total", "Somebody's", registry=registry)
        with pytest.raises(ValueError, match="Duplicated timeseries"):
            register(registry)

    def test_registering_opens_no_caches(self):
        with override_settings(CACHES={"default": {"BACKEND": OURS, "OPTIONS": {"NONSENSE": 1}}}):
            register(CollectorRegistry(auto_describe=True))


class TestBesideDjangoPrometheus:
    def site(self, program, **extra):
        pytest.importorskip("django_prometheus")
        return exposed(run("-W", "ignore::DeprecationWarning", "-c", f"EXTRA = {extra}{SITE}{program}"))

    @pytest.mark.parametrize("theirs", ["first", "last"])
    @pytest.mark.parametrize("namespace", ["", "shop"])
    def test_both_are_exported_in_either_order(self, theirs, namespace):
        use = "caches['theirs'].set('key', 1); caches['theirs'].get('key')\n"
        program = f"{use if theirs == 'first' else ''}register()\n{use if theirs == 'last' else ''}" + (
            "caches['default'].get('missing')\ncaches['theirs'].get('key')\n"
            "print(generate_latest(REGISTRY).decode().strip())"
        )
        found = self.site(program, PROMETHEUS_METRIC_NAMESPACE=namespace)
        prefix = f"{namespace}_" if namespace else ""
        assert found[f'{prefix}django_cache_get_total{{backend="locmem"}}'] == 2
        assert found[f'{prefix}django_cache_get_hits_total{{backend="locmem"}}'] == 2
        assert found[f'{prefix}django_cache_get_total{{backend="nearcache"}}'] == 1
        assert found[f'{prefix}django_cache_get_misses_total{{backend="nearcache"}}'] == 1

    def test_each_name_is_exported_once(self):
        pytest.importorskip("django_prometheus")
        program = "register()\nprint(generate_latest(REGISTRY).decode().strip())"
        text = run("-W", "ignore::DeprecationWarning", "-c", f"EXTRA = {{}}{SITE}{program}")
        types = [line for line in text.splitlines() if line.startswith("# TYPE django_cache")]
        assert len(types) == len(set(types)) >= 3

    def test_a_refusal_leaves_theirs_in_place(self):
        program = """
register()
try:
    register()
except ValueError as error:
    assert "Duplicated" in str(error)
caches["theirs"].get("key")
print(generate_latest(REGISTRY).decode().strip())
"""
        assert self.site(program)['django_cache_get_total{backend="locmem"}'] == 1


class TestExtra:
    def test_missing_package_is_named(self):
        program = """
import sys
sys.modules["prometheus_client"] = None
import nearcache.django
import nearcache.django.prometheus
"""
        finished, _, errors = start("-c", program)
        assert finished.returncode == 1
        assert "ImportError: nearcache.django.prometheus needs prometheus_client" in errors
        assert "pip install 'nearcache[prometheus]'" in errors
