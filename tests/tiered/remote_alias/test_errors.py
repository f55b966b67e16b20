"""Failures of the remote cache, and ``ON_ERROR``."""

import asyncio
import logging
import threading

import pytest

from nearcache.django.remote_alias import remote_calls
from tiered.remote_alias.remotes import (
    FAILING,
    FailingCache,
)


class TestErrors:
    @pytest.fixture
    def failing(self, configure):
        def make(**options):
            return configure(remote=FAILING, **options)

        remote_calls._WARNED_AT.clear()
        return make

    def test_raise(self, failing):
        cache, remote = failing()
        remote.set("kept", 1)
        cache.get("kept")
        FailingCache.error = ConnectionError("down")
        assert cache.get("kept") == 1
        for use in (lambda: cache.get("key"), lambda: cache.set("key", 1), lambda: cache.get_many(["key"])):
            with pytest.raises(ConnectionError, match="down"):
                use()

    def test_miss(self, failing):
        cache, remote = failing(ON_ERROR="miss")
        remote.set("kept", 1)
        cache.get("kept")
        FailingCache.error = ConnectionError("down")
        assert cache.get("kept") == 1
        assert cache.get("key", "default") == "default"
        assert cache.get("kept", "default", fresh=True) == "default"
        assert cache.get_many(["key", "kept"]) == {"kept": 1}
        assert cache.set("key", 1) is None
        assert cache.add("key", 1) is False
        assert cache.touch("key") is False
        assert cache.delete("key") is False
        assert cache.has_key("key") is False
        assert cache.set_many({"key": 1}) == []
        assert cache.delete_many(["key"]) is None
        assert cache.clear() is None
        assert cache.get_or_set("key", lambda: 5) == 5
        for use in (cache.incr, cache.decr, cache.incr_version):
            with pytest.raises(ValueError, match="'key' not found"):
                use("key")
        assert cache.get("kept") is None

    def test_miss_asynchronously(self, failing):
        cache, _ = failing(ON_ERROR="miss")
        FailingCache.error = ConnectionError("down")

        async def use():
            assert await cache.aget("key", "default") == "default"
            assert await cache.aget_many(["key"]) == {}
            assert await cache.aset("key", 1) is None
            assert await cache.aadd("key", 1) is False
            assert await cache.adelete("key") is False
            assert await cache.ahas_key("key") is False
            assert await cache.aset_many({"key": 1}) == []
            assert await cache.aclear() is None
            with pytest.raises(ValueError, match="'key' not found"):
                await cache.aincr("key")

        asyncio.run(use())

    def test_miss_does_not_hide_mistakes(self, failing):
        cache, _ = failing(ON_ERROR="miss")
        with pytest.raises((AttributeError, TypeError)):
            cache.set("key", threading.Lock())
        with pytest.raises(NotImplementedError):
            cache.ttl("key")
        with pytest.raises(ValueError, match="not found"):
            cache.incr("missing")

    def test_miss_logs_a_failure_once_in_a_while(self, failing, caplog):
        cache, _ = failing(ON_ERROR="miss")
        FailingCache.error = ConnectionError("down")
        with caplog.at_level(logging.WARNING, "nearcache"):
            for _ in range(5):
                cache.get("key")
        (record,) = caplog.records
        assert "CACHES['remote']" in record.getMessage()
        assert "ConnectionError: down" in record.getMessage()
