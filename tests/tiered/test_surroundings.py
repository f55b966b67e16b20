"""What surrounds the caches: the command, the metrics, and the file of near copies in the settings."""

import io
import json

import pytest
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.test import override_settings
from prometheus_client import CollectorRegistry

from nearcache.django.prometheus import register

BACKEND = "nearcache.django.TieredCache"
NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture
def configured(server):
    """Configure a cache on a server, one on no server, and one of this process."""
    settings = {
        "default": {"BACKEND": BACKEND, "LOCATION": [f"redis://127.0.0.1:{server.port}/0"]},
        "nowhere": {"BACKEND": BACKEND, "LOCATION": NOWHERE, "OPTIONS": {"ON_ERROR": "miss"}},
        "local": {"BACKEND": "nearcache.django.LocalCache", "LOCATION": "surroundings"},
    }
    with override_settings(CACHES=settings):
        for cache in caches.all(initialized_only=False):
            cache.reset_stats()
        yield caches


def output(*arguments, **options):
    """Run the command; return what it wrote to the output and to the errors."""
    out, err = io.StringIO(), io.StringIO()
    call_command("nearcache", *arguments, stdout=out, stderr=err, **options)
    return out.getvalue(), err.getvalue()


class TestCommand:
    def test_stats_show_the_counts_of_the_tiers(self, configured):
        configured["default"].set("key", [1])
        assert configured["default"].get("key", fresh=True) == [1]
        assert configured["default"].get("missing") is None
        table = {line[:20].strip(): line[20:].split() for line in output("stats")[0].splitlines()[1:]}
        assert table["remote hits"] == ["1", "0", "-"]
        assert table["remote misses"] == ["1", "0", "-"]
        assert table["breaker open"][0] == "no"

    def test_stats_in_json_have_them_under_remote(self, configured):
        configured["default"].get("missing")
        stats = json.loads(output("stats", "--json")[0])
        names = {name for name in dir(configured["default"].stats().remote) if not name.startswith("_")}
        assert set(stats["default"]["remote"]) == names
        assert stats["default"]["remote"]["remote_misses"] == 1
        assert stats["local"]["remote"] is None

    def test_keys_get_delete_and_clear(self, configured):
        configured["default"].set_many({"user:1": 1, "user:2": 2, "page": 3})
        assert sorted(output("keys", "user:*")[0].splitlines()) == ["user:1", "user:2"]
        assert output("get", "page")[0].splitlines()[-1] == "3"
        assert output("delete", "--pattern", "user:*")[0] == "deleted 2 entries of 'default'\n"
        assert output("clear", "--cache", "default")[0] == "cleared 'default'\n"
        assert json.loads(output("clear", "--cache", "default", "--json")[0]) == {
            "default": {"cleared": None}
        }
        assert configured["default"].get("page") is None


class TestMetrics:
    def test_have_the_counts_of_the_tiers(self, configured):
        registry = CollectorRegistry()
        register(registry)
        configured["default"].set("key", 1)
        configured["default"].get("key", fresh=True)
        configured["nowhere"].get("key")

        def sample(name, **labels):
            return registry.get_sample_value(name, labels)

        assert sample("nearcache_remote_hits_total", cache="default") == 1
        assert sample("nearcache_ignored_errors_total", cache="nowhere") == 1
        assert sample("nearcache_near_open", cache="nowhere") == 0
        assert sample("nearcache_refused_fills_total", cache="nowhere", reason="large") == 0
        assert sample("nearcache_remote_hits_total", cache="local") is None
        assert sample("nearcache_hits_total", cache="local") == 0


class TestNearLocation:
    @pytest.mark.parametrize("change", [{"url": "redis://127.0.0.1:2/0"}, {"DB": 3}, {"KEY_PREFIX": "other"}])
    def test_cannot_be_the_file_of_another_source(self, make_tiered, shared_memory, change):
        settings = {"NEAR": "shared", "NEAR_LOCATION": str(shared_memory / "near"), "url": NOWHERE}
        make_tiered(**settings)
        with pytest.raises(ImproperlyConfigured, match=r"NEAR_LOCATION.*another LOCATION, DB or KEY_PREFIX"):
            make_tiered(**{**settings, **change})

    def test_can_be_the_file_of_a_cache_with_the_same_source(self, make_tiered, shared_memory):
        settings = {"NEAR": "shared", "NEAR_LOCATION": str(shared_memory / "near"), "ON_ERROR": "miss"}
        make_tiered(NOWHERE, **settings)
        assert make_tiered(NOWHERE, TIMEOUT=5, **settings).get("key") is None
