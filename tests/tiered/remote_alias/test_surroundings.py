"""The system check, the management command and the metrics."""

import io
import json

import pytest
from django.core import checks
from django.core.cache import caches
from django.core.management import CommandError, call_command
from django.test import override_settings
from prometheus_client import CollectorRegistry

from nearcache.django.prometheus import register
from tiered.remote_alias.remotes import TIERED


def messages():
    found = checks.run_checks(tags=[checks.Tags.caches])
    return [message for message in found if str(message.id).startswith("nearcache.")]


class TestCheck:
    def test_says_what_the_promise_is(self, configure):
        configure(NEAR_TTL=9)
        (message,) = messages()
        assert message.id == "nearcache.W012"
        assert message.level == checks.WARNING
        assert "CACHES['default'] has near copies of CACHES['remote']" in message.msg
        assert "NEAR_TTL (9 seconds)" in message.msg

    def test_is_silent_without_near_copies(self, configure):
        configure(NEAR=None)
        assert messages() == []

    def test_is_silent_with_a_server(self):
        with override_settings(CACHES={"default": {"BACKEND": TIERED, "LOCATION": "redis://127.0.0.1:1"}}):
            assert messages() == []


class TestSurroundings:
    def test_command(self, configure):
        cache, _ = configure()
        cache.set("key", 1)
        cache.get("key")
        cache.get("key")
        out = io.StringIO()
        call_command("nearcache", "stats", "--json", stdout=out)
        assert json.loads(out.getvalue())["default"]["hits"] == 1
        out = io.StringIO()
        call_command("nearcache", "get", "key", stdout=out)
        assert out.getvalue().splitlines()[-1] == "1"
        assert "unknown" in out.getvalue()
        with pytest.raises(CommandError, match=r"iter_keys\(\) is not supported by .*LocMemCache"):
            call_command("nearcache", "keys", "*")
        call_command("nearcache", "clear", stdout=io.StringIO())
        assert cache.get("key") is None

    def test_metrics_count_a_near_tier_once(self, configure):
        cache, _ = configure()
        settings = {**caches.settings, "second": caches.settings["default"]}
        with override_settings(CACHES=settings):
            cache = caches["default"]
            cache.set("key", 1)
            cache.get("key")
            cache.get("key")
            registry = CollectorRegistry()
            register(registry)
            assert registry.get_sample_value("nearcache_hits_total", {"cache": "default"}) == 1
            assert registry.get_sample_value("nearcache_hits_total", {"cache": "second"}) is None
