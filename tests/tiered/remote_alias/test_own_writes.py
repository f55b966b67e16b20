"""Writes of this process, which delete the near copies."""

import asyncio
import threading

import pytest
from django.core.cache import caches

from tiered.remote_alias.remotes import (
    FAILING,
    INTERRUPTING,
    FailingCache,
    InterruptingCache,
)

WRITES = {
    "set": lambda cache: cache.set("key", "new"),
    "delete": lambda cache: cache.delete("key"),
    "touch": lambda cache: cache.touch("key", 100),
    "add": lambda cache: cache.add("key", "new"),
    "set_many": lambda cache: cache.set_many({"key": "new"}),
    "delete_many": lambda cache: cache.delete_many(iter(["key"])),
    "clear": lambda cache: cache.clear(),
    "incr": lambda cache: cache.incr("key"),
    "decr": lambda cache: cache.decr("key"),
    "incr_version": lambda cache: cache.incr_version("key"),
    "decr_version": lambda cache: cache.decr_version("key", version=2),
}
ASYNC_WRITES = {
    "aset": lambda cache: cache.aset("key", "new"),
    "adelete": lambda cache: cache.adelete("key"),
    "atouch": lambda cache: cache.atouch("key", 100),
    "aadd": lambda cache: cache.aadd("key", "new"),
    "aset_many": lambda cache: cache.aset_many({"key": "new"}),
    "adelete_many": lambda cache: cache.adelete_many(iter(["key"])),
    "aclear": lambda cache: cache.aclear(),
    "aincr": lambda cache: cache.aincr("key"),
    "adecr": lambda cache: cache.adecr("key"),
    "aincr_version": lambda cache: cache.aincr_version("key"),
    "adecr_version": lambda cache: cache.adecr_version("key", version=2),
}


def call(write, cache):
    done = write(cache)
    return asyncio.run(done) if asyncio.iscoroutine(done) else done


class TestOwnWrites:
    @pytest.mark.parametrize("name", [*WRITES, *ASYNC_WRITES])
    def test_drop_the_copies(self, configure, name):
        cache, remote = configure()
        for version in (1, 2):
            remote.set("key", 5, version=version)
            assert cache.get("key", version=version) == 5
        # Nobody reports this write, so the next read shows whether the copy is gone.
        remote.set("key", 7)
        assert cache.get("key") == 5
        call({**WRITES, **ASYNC_WRITES}[name], cache)
        assert cache.get("key") == remote.get("key")
        assert cache.get("key", version=2) == remote.get("key", version=2)

    @pytest.mark.parametrize("name", [*WRITES, *ASYNC_WRITES])
    def test_that_fail_drop_the_copies(self, configure, name):
        cache, remote = configure(remote=FAILING)
        for version in (1, 2):
            remote.set("key", 5, version=version)
            assert cache.get("key", version=version) == 5
        remote.set("key", 7)
        FailingCache.error = ConnectionError("down")
        with pytest.raises(ConnectionError, match="down"):
            call({**WRITES, **ASYNC_WRITES}[name], cache)
        FailingCache.error = None
        dropped = 2 if name.endswith("decr_version") else 1
        assert cache.get("key", version=dropped) == remote.get("key", version=dropped)

    def test_overtake_a_read(self, configure):
        cache, remote = configure(remote=INTERRUPTING)
        remote.set("key", "old")
        InterruptingCache.then = lambda: cache.set("key", "new")
        assert cache.get("key") == "old"
        assert cache.get("key") == "new"
        InterruptingCache.then = cache.clear
        cache.set("key", "old")
        assert cache.get_many(["key"]) == {"key": "old"}
        assert cache.get("key") is None

    def test_overtake_a_read_that_keeps_its_copy(self, configure):
        cache, remote = configure()
        remote.set("key", "old")
        copies = cache._near.copies
        store = copies.set

        def overtaken(*args):
            copies.set = store
            cache.set("key", "new")
            store(*args)

        copies.set = overtaken
        assert cache.get("key") == "old"
        assert cache.get("key") == "new"

    def test_overtaken_read_stores_nothing(self, configure):
        cache, remote = configure(remote=INTERRUPTING)
        remote.set("key", "old")
        InterruptingCache.then = lambda: cache.set("key", "new")
        assert cache.get("key") == "old"
        assert cache.stats().sets == 0

    def test_of_another_thread_overtake_a_read(self, configure):
        cache, remote = configure(remote=INTERRUPTING)
        remote.set("key", "old")

        def write():
            thread = threading.Thread(target=lambda: caches["default"].set("key", "new"))
            thread.start()
            thread.join()

        InterruptingCache.then = write
        assert cache.get("key") == "old"
        assert cache.get("key") == "new"

    def test_return_what_the_remote_returns(self, configure):
        cache, remote = configure()
        assert cache.set("key", 1) is None
        assert cache.add("key", 1) is False
        assert cache.add("new", 1) is True
        assert cache.incr("key", 4) == 5
        assert cache.decr("key", 2) == 3
        assert cache.touch("key") is True
        assert cache.touch("missing") is False
        assert cache.has_key("key") is True
        assert "missing" not in cache
        assert cache.delete("missing") is False
        assert cache.set_many({"a": 1}) == []
        assert cache.incr_version("a") == 2
        assert cache.decr_version("a", version=2) == 1
        assert cache.get_or_set("made", lambda: [1]) == [1]
        assert remote.get("made") == [1]
        with pytest.raises(ValueError, match="not found"):
            cache.incr("missing")

    def test_timeout_is_passed_on(self, configure):
        cache, remote = configure(remote="nearcache.django.LocalCache", given={"TIMEOUT": 77})
        cache.set("given", 1, 50)
        cache.set("default", 1)
        cache.set("never", 1, None)
        assert (remote.ttl("given"), remote.ttl("default"), remote.ttl("never")) == (50, 77, None)
