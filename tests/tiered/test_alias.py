"""A TieredCache whose remote tier is another cache of CACHES (``OPTIONS["REMOTE"]``)."""

import asyncio
import copy
import io
import json
import logging
import threading
import time
import uuid

import pytest
from django.core import checks
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import override_settings
from prometheus_client import CollectorRegistry

from nearcache.django import AsyncLock, LocalCache, Lock, TieredCache, tiered_alias, traced
from nearcache.django.backend import Backend
from nearcache.django.prometheus import register
from nearcache.django.tiered import AliasTieredCache
from nearcache.django.tiered_alias import AliasMethods

TIERED = "nearcache.django.TieredCache"
LOCMEM = "django.core.cache.backends.locmem.LocMemCache"
DUMMY = "django.core.cache.backends.dummy.DummyCache"
DATABASE = "django.core.cache.backends.db.DatabaseCache"
LONG = 3600


class FailingCache(LocMemCache):
    """A cache whose server can be switched off."""

    error = None

    def _lock_out(self):
        if type(self).error is not None:
            raise type(self).error

    def get(self, *args, **options):
        self._lock_out()
        return super().get(*args, **options)

    def set(self, *args, **options):
        self._lock_out()
        return super().set(*args, **options)

    def add(self, *args, **options):
        self._lock_out()
        return super().add(*args, **options)

    def touch(self, *args, **options):
        self._lock_out()
        return super().touch(*args, **options)

    def delete(self, *args, **options):
        self._lock_out()
        return super().delete(*args, **options)

    def has_key(self, *args, **options):
        self._lock_out()
        return super().has_key(*args, **options)

    def incr(self, *args, **options):
        self._lock_out()
        return super().incr(*args, **options)

    def clear(self):
        self._lock_out()
        super().clear()


class Subclass(TieredCache):
    """Somebody's own."""

    def get(self, key, default=None, version=None, *, fresh=False):
        return "own", super().get(key, default, version, fresh=fresh)


class Interrupting(LocMemCache):
    """A cache in which another thread's write happens between the read of a value and its return."""

    then = None

    def get(self, *args, **options):
        found = super().get(*args, **options)
        then, type(self).then = type(self).then, None
        if then is not None:
            then()
        return found


@pytest.fixture
def configure():
    """Return a function that sets CACHES: ``configure(remote_params, **options)`` returns both caches."""
    active = []

    def set_up(remote=LOCMEM, backend=TIERED, given=None, **options):
        options = {"NEAR_TTL": LONG, **options}
        params = {"BACKEND": remote, "LOCATION": uuid.uuid4().hex, **(given or {})}
        settings = {
            "default": {"BACKEND": backend, "OPTIONS": {"REMOTE": "remote", **options}},
            "remote": params,
        }
        active.append(override_settings(CACHES=settings))
        active[-1].enable()
        return caches["default"], caches["remote"]

    yield set_up
    for one in reversed(active):
        one.disable()
    FailingCache.error = Interrupting.then = None


@pytest.fixture
def shared_options(shared_memory):
    """Return the options of a shared near tier with a file of its own."""
    location = str(shared_memory / f"near-{uuid.uuid4().hex}")
    return {"NEAR": "shared", "NEAR_LOCATION": location, "MAX_MEMORY": "2MB"}


@pytest.fixture
def database(tmp_path):
    """Make a database with the table of a DatabaseCache."""
    connections.databases["default"] = {
        **connections.databases["default"],
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(tmp_path / "cache.sqlite3"),
    }
    old = connections["default"]
    del connections["default"]
    yield
    connections["default"].close()
    connections["default"] = old


class TestObject:
    def test_is_a_tiered_cache(self, configure):
        cache, _ = configure()
        assert type(cache) is AliasTieredCache
        assert isinstance(cache, TieredCache)
        assert isinstance(cache, Backend)

    def test_every_method_of_the_api_is_defined(self):
        # These call others.
        inherited = {"get_or_set", "aget_or_set", "validate_key", "make_and_validate_key", "key_func"}
        inherited |= {"get_backend_timeout", "stats", "astats", "reset_stats", "areset_stats"}
        inherited |= {"reverse_key_func"}
        public = {name for name in dir(TieredCache) if not name.startswith("_")} - inherited
        constants = {"pickle_protocol"}
        assert {name for name in public - constants if name not in vars(AliasMethods)} == set()

    def test_class_without_remote_is_unchanged(self):
        assert type(TieredCache("redis://127.0.0.1:1", {})) is TieredCache
        assert type(TieredCache("redis://127.0.0.1:1", {"OPTIONS": {"REMOTE": None}})) is TieredCache

    def test_subclass_keeps_its_methods(self, configure):
        cache, remote = configure(backend=f"{__name__}.Subclass")
        assert isinstance(cache, Subclass)
        assert isinstance(cache, AliasTieredCache)
        cache.set("key", 1)
        assert remote.get("key") == 1
        assert cache.get("key") == ("own", 1)

    def test_traced(self, configure):
        cache, remote = configure(backend="nearcache.django.traced.TieredCache")
        assert isinstance(cache, traced.TieredCache)
        cache.set("key", 1)
        assert cache.add("key", 2) is False
        assert remote.get("key") == cache.get("key") == 1
        assert cache.delete("key") is True
        assert remote.get("key") is None

    def test_copy_has_the_same_entries(self, configure):
        cache, _ = configure()
        copied = copy.copy(cache)
        copied.set("key", 1)
        assert cache.get("key") == copied.get("key") == 1
        assert copied.stats().hits == cache.stats().hits == 1
        assert type(copied) is type(cache)

    def test_has_the_settings_of_the_remote(self, configure):
        cache, remote = configure(given={"KEY_PREFIX": "mine", "VERSION": 7, "TIMEOUT": 11})
        assert (cache.key_prefix, cache.version, cache.default_timeout) == ("mine", 7, 11)
        assert cache.make_key("key") == remote.make_key("key") == "mine:7:key"
        cache.set("key", 1)
        assert remote.get("key", version=7) == 1
        assert cache.get("key", version=8) is None


class TestNear:
    @pytest.fixture(params=["local", "shared"])
    def pair(self, request, configure):
        options = request.getfixturevalue("shared_options") if request.param == "shared" else {}
        return configure(**options)

    def test_read_keeps_a_copy_for_a_while(self, pair):
        cache, remote = pair
        remote.set("key", "old")
        assert cache.get("key") == "old"
        remote.set("key", "new")
        assert cache.get("key") == "old"
        assert cache.get("key", fresh=True) == "new"
        assert cache.get("key") == "new"

    def test_copy_ends_after_near_ttl(self, configure):
        cache, remote = configure(NEAR_TTL=0.05)
        remote.set("key", "old")
        assert cache.get("key") == "old"
        remote.set("key", "new")
        time.sleep(0.1)
        assert cache.get("key") == "new"

    def test_default_of_near_ttl(self, configure):
        cache, remote = configure(NEAR_TTL="5")
        remote.set("key", 1)
        cache.get("key")
        kept = cache._near._copies.pttl(remote.make_key("key"))
        assert 4_000 < kept <= 5_000
        parsed = tiered_alias.AliasOptions.parse("", {"OPTIONS": {"REMOTE": "remote"}})
        assert parsed.near_ttl == 5

    def test_none_is_a_value(self, pair):
        cache, remote = pair
        remote.set("key", None)
        assert cache.get("key", "default") is None
        remote.delete("key")
        assert cache.get("key", "default") is None
        assert cache.get("other", "default") == "default"

    def test_misses_are_not_kept(self, pair):
        cache, remote = pair
        assert cache.get("key") is None
        remote.set("key", 1)
        assert cache.get("key") == 1

    def test_get_many_reads_copies_and_the_rest(self, pair):
        cache, remote = pair
        remote.set_many({"a": 1, "b": 2, "c": None})
        assert cache.get("a") == 1
        remote.set("a", "changed")
        assert cache.get_many(iter(["a", "b", "c", "d"])) == {"a": 1, "b": 2, "c": None}
        remote.set("b", "changed")
        assert cache.get("b") == 2

    def test_versions_have_copies_of_their_own(self, pair):
        cache, remote = pair
        remote.set("key", 1, version=1)
        remote.set("key", 2, version=2)
        assert [cache.get("key", version=version) for version in (1, 2, 1, 2)] == [1, 2, 1, 2]

    def test_long_keys(self, pair):
        cache, remote = pair
        with pytest.warns(Warning, match="longer than 250"):
            remote.set("k" * 70_000, 1)
        with pytest.warns(Warning, match="longer than 250"):
            assert cache.get("k" * 70_000) == 1
        # A near hit asks nobody, so nobody warns.
        assert cache.get("k" * 70_000) == 1

    def test_value_from_a_copy_is_not_shared(self, pair):
        cache, remote = pair
        remote.set("key", [1])
        cache.get("key").append(2)
        cache.get("key").append(2)
        assert cache.get("key") == [1]

    def test_without_a_near_tier_every_read_asks(self, configure):
        cache, remote = configure(NEAR=None)
        for number in range(3):
            remote.set("key", number)
            assert cache.get("key") == number
            assert cache.get_many(["key"]) == {"key": number}
        cache.delete("key")
        cache.clear()
        assert cache.stats().entries == 0

    def test_stats_are_those_of_the_near_tier(self, configure):
        cache, remote = configure()
        remote.set("key", 1)
        for _ in range(3):
            cache.get("key")
        stats = cache.stats()
        assert (stats.hits, stats.misses, stats.entries) == (2, 1, 1)
        assert stats.remote is None
        cache.reset_stats()
        assert cache.stats().hits == 0

    def test_caches_with_one_remote_share_their_copies(self, configure):
        configure()
        params = caches.settings["default"]
        other = TieredCache("", {"OPTIONS": params["OPTIONS"]})
        caches["remote"].set("key", 1)
        assert other.get("key") == 1
        caches["default"].set("key", 2)
        assert other.get("key") == 2

    def test_other_threads_see_the_copies(self, configure):
        cache, remote = configure()
        remote.set("key", 1)
        cache.get("key")
        remote.set("key", 2)
        seen = []
        thread = threading.Thread(target=lambda: seen.append(caches["default"].get("key")))
        thread.start()
        thread.join()
        assert seen == [1]


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
        cache, remote = configure(remote=f"{__name__}.FailingCache")
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
        cache, remote = configure(remote=f"{__name__}.Interrupting")
        remote.set("key", "old")
        Interrupting.then = lambda: cache.set("key", "new")
        assert cache.get("key") == "old"
        assert cache.get("key") == "new"
        Interrupting.then = cache.clear
        cache.set("key", "old")
        assert cache.get_many(["key"]) == {"key": "old"}
        assert cache.get("key") is None

    def test_overtake_a_read_that_keeps_its_copy(self, configure):
        cache, remote = configure()
        remote.set("key", "old")
        copies = cache._near._copies
        store = copies.set

        def overtaken(*args):
            copies.set = store
            cache.set("key", "new")
            store(*args)

        copies.set = overtaken
        assert cache.get("key") == "old"
        assert cache.get("key") == "new"

    def test_overtaken_read_stores_nothing(self, configure):
        cache, remote = configure(remote=f"{__name__}.Interrupting")
        remote.set("key", "old")
        Interrupting.then = lambda: cache.set("key", "new")
        assert cache.get("key") == "old"
        assert cache.stats().sets == 0

    def test_of_another_thread_overtake_a_read(self, configure):
        cache, remote = configure(remote=f"{__name__}.Interrupting")
        remote.set("key", "old")

        def write():
            thread = threading.Thread(target=lambda: caches["default"].set("key", "new"))
            thread.start()
            thread.join()

        Interrupting.then = write
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


class TestErrors:
    @pytest.fixture
    def failing(self, configure):
        def make(**options):
            return configure(remote=f"{__name__}.FailingCache", **options)

        tiered_alias._WARNED_AT.clear()
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


def refused(params=None, *, location="", **options):
    """Return the message of the error that these settings raise."""
    settings = {"remote": {"BACKEND": LOCMEM}, **(params or {})}
    with override_settings(CACHES={"default": {"BACKEND": LOCMEM}, **settings}):
        with pytest.raises(ImproperlyConfigured) as raised:
            TieredCache(location, {"OPTIONS": {"REMOTE": "remote", **options}})
        return str(raised.value)


class TestSettings:
    def test_unknown_alias(self):
        message = refused(REMOTE="nowhere")
        assert message == (
            "nearcache: OPTIONS[\"REMOTE\"] is 'nowhere'; expected an alias of CACHES, one of: 'default', "
            "'remote'."
        )

    def test_circle(self):
        def tier(remote):
            return {"BACKEND": TIERED, "OPTIONS": {"REMOTE": remote}}

        assert "leads back to 'remote'" in refused({"remote": tier("remote")})
        message = refused({"remote": tier("second"), "second": tier("remote")})
        assert "OPTIONS[\"REMOTE\"] is 'remote', which leads back to 'remote'" in message

    def test_location_as_well(self):
        message = refused(location="redis://127.0.0.1")
        assert "LOCATION is set, but OPTIONS[\"REMOTE\"] is 'remote'" in message

    @pytest.mark.parametrize(
        "name", ["DB", "TLS_CA", "CLEAR", "MAX_STALENESS", "NEAR_EXCLUDE", "PASSWORD", "MAX_ENTRIES"]
    )
    def test_options_of_a_server(self, name):
        message = refused(**{name: 1})
        assert f"unknown name {name!r}" in message
        assert 'TieredCache with OPTIONS["REMOTE"] accepts REMOTE, NEAR, NEAR_TTL' in message

    @pytest.mark.parametrize(
        ("name", "value"),
        [("KEY_PREFIX", "x"), ("VERSION", 2), ("TIMEOUT", None), ("timeout", 5), ("KEY_FUNCTION", "x.y")],
    )
    def test_settings_of_the_remote(self, name, value):
        expected = rf"{name.upper()} .* in CACHES\['remote'\]"
        with (
            override_settings(CACHES={"default": {"BACKEND": LOCMEM}, "remote": {"BACKEND": LOCMEM}}),
            pytest.raises(ImproperlyConfigured, match=expected),
        ):
            TieredCache("", {name: value, "OPTIONS": {"REMOTE": "remote"}})

    @pytest.mark.parametrize(
        ("name", "value", "expected"),
        [
            ("NEAR", "remote", "'local', 'shared' or None"),
            ("NEAR_TTL", None, "a number of seconds"),
            ("NEAR_TTL", 0, "a number of seconds"),
            ("MAX_MEMORY", None, "the size of the near tier"),
            ("MAX_MEMORY", "x", "a size such as"),
            ("MAX_PROCESSES", 0, "a whole number"),
            ("ON_ERROR", "stale", "'raise' or 'miss'"),
            ("ON_ERROR", None, "'raise' or 'miss'"),
        ],
    )
    def test_wrong_values(self, name, value, expected):
        message = refused(**{name: value})
        assert f'OPTIONS["{name}"] is {value!r}; expected ' in message
        assert expected in message

    @pytest.mark.parametrize("value", [5, "", b"x"])
    def test_wrong_location_of_the_shared_file(self, value):
        assert "a name or an absolute path" in refused(NEAR="shared", NEAR_LOCATION=value)

    def test_two_remotes_cannot_share_a_file(self, configure, shared_options):
        configure(**shared_options)
        settings = {**caches.settings, "second": {"BACKEND": LOCMEM, "LOCATION": "second"}}
        with override_settings(CACHES=settings):
            caches["default"].set("key", 1)
            with pytest.raises(ImproperlyConfigured, match="copies of another REMOTE"):
                TieredCache("", {"OPTIONS": {"REMOTE": "second", **shared_options}})

    def test_remote_beside_options(self):
        with pytest.raises(ImproperlyConfigured, match="REMOTE is beside OPTIONS"):
            LocalCache("", {"REMOTE": "default"})


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
