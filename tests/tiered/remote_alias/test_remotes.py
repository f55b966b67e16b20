"""The methods of several remote caches."""

import asyncio

import pytest
from django.core.cache import caches
from django.core.management import call_command
from django.test import override_settings

from nearcache.django import AsyncLock, Lock
from tiered.remote_alias.remotes import (
    DATABASE,
    DUMMY,
    LONG,
    TIERED,
)


class TestAsync:
    def test_all_of_djangos_methods(self, configure):
        cache, remote = configure()

        async def use():
            await cache.aset("key", [1])
            assert await cache.aget("key") == [1]
            remote.set("key", [2])
            assert await cache.aget("key") == [1]
            assert await cache.aget("key", fresh=True) == [2]
            assert await cache.aget("missing", "default") == "default"
            assert await cache.aget_many(["key", "missing"]) == {"key": [2]}
            assert await cache.aadd("number", 1) is True
            assert await cache.aincr("number") == 2
            assert await cache.adecr("number") == 1
            assert await cache.ahas_key("number") is True
            assert await cache.aset_many({"a": 1, "b": 2}) == []
            assert await cache.aget_or_set("made", 3) == 3
            await cache.adelete_many(["a", "b"])
            assert await cache.aget_many(["a", "b"]) == {}
            await cache.aclose()
            assert (await cache.astats()).entries > 0
            await cache.aclear()
            assert await cache.aget("key") is None

        asyncio.run(use())

    def test_near_hit_does_not_wait(self, configure):
        cache, remote = configure()
        remote.set("key", 1)
        cache.get("key")
        for reading, expected in ((cache.aget("key"), 1), (cache.aget_many(["key"]), {"key": 1})):
            # A coroutine that never suspends ends at the first step, without a loop.
            with pytest.raises(StopIteration) as ended:
                reading.send(None)
            assert ended.value.value == expected


class TestRemotes:
    def test_database(self, configure, database):
        cache, remote = configure(remote=DATABASE, given={"LOCATION": "cache_table"})
        call_command("createcachetable", verbosity=0)
        cache.set_many({"a": 1, "b": [2], "c": None})
        assert cache.get_many(["a", "b", "c", "d"]) == {"a": 1, "b": [2], "c": None}
        remote.delete("a")
        assert cache.get("a") == 1
        assert cache.get("a", fresh=True) is None
        assert cache.incr_version("b") == 2
        assert cache.get("b") is None
        assert cache.get("b", version=2) == [2]
        cache.clear()
        assert cache.get("c", "gone") == "gone"

    def test_dummy(self, configure):
        cache, _ = configure(remote=DUMMY)
        cache.set("key", 1)
        assert cache.get("key") is None
        assert cache.get_many(["key"]) == {}
        assert cache.add("key", 1) is True
        assert cache.has_key("key") is False

    def test_another_tiered_cache(self, configure):
        configure()
        settings = dict(caches.settings)
        settings["outer"] = {"BACKEND": TIERED, "OPTIONS": {"REMOTE": "default", "NEAR_TTL": LONG}}
        with override_settings(CACHES=settings):
            outer, middle, remote = caches["outer"], caches["default"], caches["remote"]
            remote.set("key", 1)
            assert outer.get("key") == 1
            remote.set("key", 2)
            assert middle.get("key") == outer.get("key") == 1
            assert outer.get("key", fresh=True) == 2
            with pytest.raises(NotImplementedError, match="LocMemCache"):
                outer.ttl("key")
            with pytest.raises(NotImplementedError, match="nx"):
                outer.set("key", 1, nx=True)


EXTRAS = {
    "ttl": ("key",),
    "pttl": ("key",),
    "expire": ("key", 5),
    "pexpire": ("key", 5),
    "expire_at": ("key", 5),
    "pexpire_at": ("key", 5),
    "persist": ("key",),
    "iter_keys": ("*",),
    "keys": ("*",),
    "delete_pattern": ("*",),
    "lock": ("key",),
}


async def result_of(started):
    """Await a coroutine or an asynchronous iterator, or return anything else."""
    if hasattr(started, "__aiter__"):
        return [one async for one in started]
    return await started if asyncio.iscoroutine(started) else started


class TestExtras:
    @pytest.mark.parametrize("name", [*EXTRAS, *(f"a{name}" for name in EXTRAS)])
    def test_remote_without_them(self, configure, name):
        cache, _ = configure()
        arguments = EXTRAS[name] if name in EXTRAS else EXTRAS[name[1:]]
        with pytest.raises(NotImplementedError, match=r"is not supported by django\..*\.LocMemCache"):
            asyncio.run(result_of(getattr(cache, name)(*arguments)))

    @pytest.mark.parametrize(
        "use",
        [
            lambda cache: cache.set("key", 1, nx=True),
            lambda cache: cache.set("key", 1, xx=True),
            lambda cache: cache.incr("key", ignore_key_check=True),
        ],
    )
    def test_remote_without_the_arguments(self, configure, use):
        cache, remote = configure()
        with pytest.raises(NotImplementedError, match="LocMemCache"):
            use(cache)
        assert remote.get("key") is None

    def test_remote_with_them(self, configure):
        cache, remote = configure(remote="nearcache.django.LocalCache")
        cache.set("key", 1, None)
        assert cache.ttl("key") is None
        assert cache.get("key") == 1
        assert cache.expire("key", 50) is True
        assert cache.ttl("key") == remote.ttl("key") == 50
        assert 49_000 < cache.pttl("key") <= 50_000
        assert cache.persist("key") is True
        assert cache.pexpire("missing", 50) is False
        assert cache.set("key", 2, nx=True) is False
        assert cache.set("key", 2, xx=True) is True
        assert cache.get("key") == 2
        assert cache.incr("new", 5, ignore_key_check=True) == 5
        assert sorted(cache.iter_keys("*")) == sorted(cache.keys("*")) == ["key", "new"]
        assert cache.expire_at("key", 5) is True  # long past
        assert cache.get("key") is None
        cache.get("new")
        assert cache.delete_pattern("n*") == 1
        assert cache.get("new") is None
        with pytest.raises(ValueError, match="mutually exclusive"):
            cache.set("key", 1, nx=True, xx=True)

    def test_locks_are_those_of_the_remote(self, configure):
        cache, remote = configure(remote="nearcache.django.LocalCache")
        with cache.lock("job", timeout=5) as lock:
            assert type(lock) is Lock
            assert remote.has_key("job")
        assert not remote.has_key("job")

        async def use():
            async with cache.alock("job", timeout=5) as lock:
                assert type(lock) is AsyncLock

        asyncio.run(use())

    def test_asynchronous(self, configure):
        cache, _ = configure(remote="nearcache.django.LocalCache")

        async def use():
            await cache.aset("key", 1, 50)
            assert await cache.attl("key") == 50
            assert await cache.aexpire("key", 60) is True
            assert await cache.apersist("key") is True
            assert await cache.apttl("key") is None
            assert await cache.aset("key", 1, nx=True) is False
            assert await cache.akeys("*") == ["key"]
            assert [key async for key in cache.aiter_keys("*")] == ["key"]
            assert await cache.adelete_pattern("*") == 1

        asyncio.run(use())
