"""Old values of `get_or_set` with a server: beside the entries, which stay what RedisCache reads."""

import asyncio
import contextlib
import itertools
import logging
import threading
import time

import pytest
from django.core.cache.backends.redis import RedisCache

from support.redis_servers.waiting import wait_until

KEY = ":1:key"
SIDE = ":nearcache-stale:{:1:key}"
LOCK = ":nearcache-lock:{:1:key}"
LONG = 60


@pytest.fixture(autouse=True)
def own_directory(tmp_path, monkeypatch):
    """Let each test have a file of flights of its own."""
    monkeypatch.setattr("nearcache.django.location.SHARED_MEMORY", tmp_path)


@pytest.fixture(params=[None, "local", "shared"])
def near(request):
    return request.param


@pytest.fixture
def cache(near, make_tiered, server):
    return make_tiered(server.url, NEAR=near)


@pytest.fixture
def read_near(near):
    """Return a function that reads a value until a near copy of it is there, if the cache keeps any."""

    def hits_near(cache, value):
        hits = cache.stats().remote.near_hits
        return cache.get("key") == value and (near is None or cache.stats().remote.near_hits > hits)

    return lambda cache, value: wait_until(lambda: hits_near(cache, value), "a near copy")


@pytest.fixture
def django_cache(server):
    pytest.importorskip("redis")
    with contextlib.closing(RedisCache(server.url, {})) as cache:
        yield cache


@pytest.fixture
def expire(server):
    """Return a function that waits until the key has expired."""
    return lambda: wait_until(lambda: server.command("EXISTS", KEY) == 0, "an expired key")


def fail():
    raise ZeroDivisionError


def slow():
    time.sleep(0.002)
    return "old"


def test_an_old_value_is_returned_if_computing_fails(cache, expire, caplog):
    assert cache.get_or_set("key", lambda: ["old"], 0.05, stale=LONG) == ["old"]
    expire()
    assert cache.get("key") is None
    with caplog.at_level(logging.ERROR):
        assert cache.get_or_set("key", fail, 5, stale=LONG) == ["old"]
    assert "could not be computed again" in caplog.text
    with pytest.raises(ZeroDivisionError):
        cache.get_or_set("key", fail, 5)
    assert cache.get_or_set("key", lambda: "new", 5, stale=LONG) == "new"
    stats = cache.stats()
    assert (stats.refreshes, stats.failed_refreshes) == (2, 1)


def test_an_old_value_is_returned_to_tasks(cache, expire):
    async def main():
        assert await cache.aget_or_set("key", lambda: "old", 0.05, stale=LONG) == "old"
        await asyncio.to_thread(expire)
        began, go = asyncio.Event(), asyncio.Event()

        async def compute():
            began.set()
            await go.wait()
            return "new"

        leader = asyncio.create_task(cache.aget_or_set("key", compute, 5, stale=LONG))
        await began.wait()
        old = await asyncio.gather(*[cache.aget_or_set("key", fail, 5, stale=LONG) for _ in range(10)])
        go.set()
        return old, await leader

    assert asyncio.run(main()) == (["old"] * 10, "new")
    assert cache.stats().stale_hits == 10


def test_a_background_refresh_returns_the_old_value_at_once(cache, expire):
    cache.get_or_set("key", lambda: "old", 0.05, stale=LONG)
    expire()
    assert cache.get_or_set("key", lambda: "new", 5, stale=LONG, refresh="background") == "old"
    wait_until(lambda: cache.get("key", fresh=True) == "new", "a refresh")


def test_an_old_value_is_not_used_after_its_time(cache, expire, server):
    cache.get_or_set("key", lambda: "old", 0.05, stale=0.05)
    expire()
    wait_until(lambda: server.command("EXISTS", SIDE) == 0, "an expired side key")
    with pytest.raises(ZeroDivisionError):
        cache.get_or_set("key", fail, 5, stale=LONG)


def test_a_caller_may_want_less_than_what_is_kept(cache, expire):
    cache.get_or_set("key", lambda: "old", 0.05, stale=LONG)
    expire()
    with pytest.raises(ZeroDivisionError):
        cache.get_or_set("key", fail, 5, stale=1e-9)


class TestDeleted:
    """The old value of a key that was deleted is not used."""

    def assert_is_gone(self, cache):
        with pytest.raises(ZeroDivisionError):
            cache.get_or_set("key", fail, 5, stale=LONG)

    @pytest.fixture(autouse=True)
    def stored(self, cache):
        cache.get_or_set("key", lambda: "old", LONG, stale=LONG)

    def test_by_delete(self, cache, server):
        assert cache.delete("key")
        assert not cache.delete("key")
        assert server.command("EXISTS", SIDE) == 0
        self.assert_is_gone(cache)

    def test_by_delete_many(self, cache, server):
        cache.delete_many(["key", "other"])
        assert server.command("EXISTS", SIDE) == 0

    def test_by_delete_pattern(self, cache, server):
        assert cache.delete_pattern("k*") == 1
        assert server.command("EXISTS", SIDE) == 0

    @pytest.mark.parametrize("pattern", ["*", "key", "k?y", "[k]ey", "*y"])
    def test_by_delete_pattern_after_its_expiry(self, cache, server, pattern):
        server.command("PEXPIRE", SIDE, LONG * 1000 - 1)
        server.command("DEL", KEY)
        assert cache.get_or_set("key", fail, 5, stale=LONG) == "old"
        assert cache.delete_pattern("other*") == cache.delete_pattern("*", version=2) == 0
        assert cache.get_or_set("key", fail, 5, stale=LONG) == "old"
        assert cache.delete_pattern(pattern) == 0
        self.assert_is_gone(cache)

    def test_by_clear(self, cache, server):
        cache.clear()
        assert server.command("DBSIZE") == 0

    def test_by_a_foreign_client(self, cache, server):
        server.command("DEL", KEY)
        assert server.command("EXISTS", SIDE) == 1
        self.assert_is_gone(cache)
        wait_until(lambda: server.command("EXISTS", SIDE) == 0, "a deleted side key")

    def test_by_a_foreign_client_found_by_a_waiter(self, cache, server):
        server.command("DEL", KEY)
        began, go = threading.Event(), threading.Event()

        def compute():
            began.set()
            go.wait()

        leader = threading.Thread(target=cache.get_or_set, args=("key", compute, 5))
        waiter = threading.Thread(target=cache.get_or_set, args=("key", fail, 5), kwargs={"stale": LONG})
        leader.start()
        began.wait()
        waiter.start()
        try:
            wait_until(lambda: server.command("EXISTS", SIDE) == 0, "a deleted side key")
        finally:
            go.set()
            leader.join()
            waiter.join()

    def test_by_redis_cache(self, cache, django_cache):
        assert django_cache.delete("key")
        self.assert_is_gone(cache)

    def test_by_a_timeout_of_0(self, cache, server):
        cache.touch("key", 0)
        assert server.command("EXISTS", SIDE) == 0

    @pytest.mark.parametrize("method", ["set", "set_many"])
    def test_by_another_process_that_stores_with_a_timeout_of_0(self, make_tiered, server, method):
        other = make_tiered(server.url, NEAR=None, SOCKET_TIMEOUT=7)
        getattr(other, method)(*({"key": 1},) if method == "set_many" else ("key", 1), timeout=0)
        assert server.command("EXISTS", SIDE) == 0

    @pytest.mark.parametrize("write", ["set", "add", "set_many", "xx"])
    def test_by_a_write(self, cache, server, write):
        if write == "add":
            server.command("DEL", KEY)
            assert cache.add("key", "newer", 5)
        elif write == "set_many":
            cache.set_many({"key": "newer"}, 5)
        else:
            cache.set("key", "newer", 5, xx=write == "xx")
        assert server.command("EXISTS", SIDE) == 0
        assert cache.get("key") == "newer"
        assert 0 < cache.ttl("key") <= 5

    def test_but_not_by_a_write_without_effect(self, cache, server):
        assert not cache.add("key", "newer")
        assert server.command("EXISTS", SIDE) == 1


class TestTouched:
    """The stale time of a value follows its timeout, whatever changes that."""

    def assert_is_old(self, cache):
        assert cache.get_or_set("key", fail, 5, stale=LONG) == "old"

    @pytest.fixture(autouse=True)
    def stored(self, cache):
        cache.get_or_set("key", lambda: "old", LONG, stale=LONG)

    @pytest.mark.parametrize("method", ["touch", "pexpire", "pexpire_at"])
    def test_to_end_sooner(self, cache, expire, method):
        timeouts = {"touch": 0.05, "pexpire": 50, "pexpire_at": round((time.time() + 0.5) * 1000)}
        assert getattr(cache, method)("key", timeouts[method])
        expire()
        self.assert_is_old(cache)

    def test_by_a_task(self, cache, expire):
        assert asyncio.run(cache.atouch("key", 0.05))
        expire()
        self.assert_is_old(cache)

    @pytest.mark.parametrize("timeout", [2 * LONG, 10**12])
    def test_to_end_later(self, cache, server, timeout):
        assert cache.touch("key", timeout)
        assert server.command("PTTL", SIDE) - server.command("PTTL", KEY) == pytest.approx(
            1000 * LONG, abs=100
        )

    @pytest.mark.parametrize("method", ["touch", "persist"])
    def test_to_stay(self, cache, server, method):
        assert cache.persist("key") if method == "persist" else cache.touch("key", None)
        assert cache.ttl("key") is None
        assert server.command("EXISTS", SIDE) == 0

    def test_a_missing_key_keeps_its_old_value(self, cache, expire):
        cache.touch("key", 0.05)
        expire()
        assert not cache.touch("key", 5)
        assert not cache.touch("key", None)
        assert not cache.persist("key")
        self.assert_is_old(cache)

    def test_a_side_key_of_another_form_is_left(self, cache, server):
        server.command("SET", SIDE, "of another form", "PX", 1000 * LONG)
        assert cache.touch("key", 5 * LONG)
        assert server.command("PTTL", SIDE) <= 1000 * LONG


def test_an_old_number_is_not_used_after_incr(cache, server):
    assert cache.get_or_set("key", lambda: 1, LONG, stale=LONG) == 1
    assert cache.incr("key") == 2
    assert server.command("EXISTS", SIDE) == 0


def test_a_value_without_a_timeout_has_no_old_one(cache, server):
    cache.get_or_set("key", lambda: "value", None, stale=LONG)
    assert server.command("EXISTS", SIDE) == 0
    assert cache.ttl("key") is None


def test_the_entry_is_what_redis_cache_reads(cache, django_cache, server):
    assert cache.get_or_set("key", lambda: {"a": 1}, LONG, stale=LONG, early=1) == {"a": 1}
    assert django_cache.get("key") == {"a": 1}
    assert 0 < server.command("TTL", KEY) <= LONG
    assert LONG < server.command("TTL", SIDE) <= 2 * LONG
    django_cache.set("key", 5)
    assert cache.get("key", fresh=True) == 5


@pytest.mark.parametrize("prefix", ["", "site", "{site}", "}"])
@pytest.mark.parametrize("key", ["key", "{key}", "{key", "key}", "{}key", "a{b}c", "nearcache-stale:x"])
def test_delete_pattern_finds_old_values_of_keys_with_braces(make_tiered, server, prefix, key):
    cache = make_tiered(server.url, NEAR=None, KEY_PREFIX=prefix)
    cache.get_or_set(key, lambda: "old", LONG, stale=LONG)
    server.command("DEL", f"{prefix}:1:{key}")
    assert server.command("DBSIZE") == 1
    assert cache.delete_pattern("*") == 0
    assert server.command("DBSIZE") == 0


def test_delete_pattern_finds_old_values_under_a_prefix_that_was_assigned(cache, server):
    for prefix in ("", "mine"):
        cache.key_prefix = prefix
        cache.get_or_set("key", lambda: "old", LONG, stale=LONG)
        server.command("DEL", cache.make_key("key"))
    assert cache.delete_pattern("k*") == 0
    assert server.command("KEYS", "*") == [SIDE.encode()]


def test_patterns_do_not_find_what_is_beside_an_entry(cache):
    cache.get_or_set("key", lambda: "value", LONG, stale=LONG)
    for pattern in ("*", "*stale*", "*key*", "?*"):
        assert cache.keys(pattern) == (["key"] if pattern != "*stale*" else [])
    assert cache.keys("*", version=2) == []
    assert cache.has_key("key")
    assert cache.ttl("key") <= LONG


class TestEarly:
    def test_a_value_is_computed_before_it_expires(self, cache):
        cache.get_or_set("key", lambda: "old", LONG, early=1)
        assert cache.get_or_set("key", lambda: "unused", LONG, early=1e-9) == "old"
        assert cache.get_or_set("key", lambda: "new", LONG, early=1e12) == "new"
        assert cache.get("key", fresh=True) == "new"

    def test_by_a_task(self, cache):
        async def main():
            await cache.aget_or_set("key", lambda: "old", LONG, early=1)
            return await cache.aget_or_set("key", lambda: "new", LONG, early=1e12)

        assert asyncio.run(main()) == "new"

    def test_by_a_process_that_did_not_compute_it(self, make_tiered, server):
        first, second = (make_tiered(server.url, NEAR=None, SOCKET_TIMEOUT=seconds) for seconds in (5, 6))
        first.get_or_set("key", lambda: "old", LONG, early=1)
        assert second.get_or_set("key", lambda: "new", LONG, early=1e12) == "new"

    def test_the_cost_is_not_kept_without_it(self, cache, server):
        cache.get_or_set("key", lambda: "value", LONG)
        assert server.command("EXISTS", SIDE) == 0

    def test_a_failure_keeps_the_value(self, cache):
        cache.get_or_set("key", lambda: "old", LONG, early=1)
        assert cache.get_or_set("key", fail, LONG, early=1e12) == "old"

    def test_a_value_that_another_machine_computes_has_not_expired(self, cache, server):
        cache.get_or_set("key", slow, LONG, early=1e-9)
        server.command("SET", LOCK, "another machine", "PX", 1000 * LONG)
        assert cache.get_or_set("key", fail, LONG, early=1e12, distributed=True) == "old"
        stats = cache.stats()
        assert (stats.flights, stats.stale_hits) == (2, 0)

    @pytest.mark.parametrize("days", [None, 25, 30, 50])
    def test_a_far_end_is_not_near(self, cache, days):
        timeout = None if days is None else days * 24 * 60 * 60
        numbers = itertools.count()
        values = [cache.get_or_set("key", lambda: next(numbers), timeout, early=1) for _ in range(5)]
        assert values == [0] * 5


class TestNotDue:
    """A value that was not computed by `get_or_set` is not computed again before its time."""

    @pytest.fixture(autouse=True)
    def computed(self, cache):
        cache.get_or_set("key", slow, LONG, early=1e-9)

    def assert_is_kept(self, cache, value):
        assert cache.get_or_set("key", lambda: "new", LONG, early=1e12) == value
        assert cache.get("key", fresh=True) == value

    @pytest.mark.parametrize("write", ["set", "set_many", "xx", "add"])
    def test_after_a_write(self, cache, read_near, write):
        if write == "set_many":
            cache.set_many({"key": "written"}, LONG)
        elif write == "add":
            cache.delete("key")
            cache.add("key", "written", LONG)
        else:
            cache.set("key", "written", LONG, xx=write == "xx")
        read_near(cache, "written")
        self.assert_is_kept(cache, "written")

    def test_after_incr(self, cache, read_near):
        cache.delete("key")
        cache.get_or_set("key", lambda: len(slow()), LONG, early=1e-9)
        cache.incr("key")
        read_near(cache, 4)
        self.assert_is_kept(cache, 4)

    @pytest.mark.parametrize("delete", ["delete", "clear"])
    def test_after_a_deletion(self, cache, server, read_near, delete):
        cache.clear() if delete == "clear" else cache.delete("key")
        server.command("SET", KEY, 7, "EX", LONG)
        read_near(cache, 7)
        self.assert_is_kept(cache, 7)

    def test_after_its_expiry_was_removed(self, cache, read_near):
        read_near(cache, "old")
        cache.persist("key")
        read_near(cache, "old")
        self.assert_is_kept(cache, "old")

    def test_after_another_client_removed_its_expiry(self, cache, server):
        server.command("PERSIST", KEY)
        assert cache.get("key", fresh=True) == "old"
        self.assert_is_kept(cache, "old")


def test_the_end_of_an_older_value_is_not_that_of_a_newer_one(cache, server, read_near, expire):
    cache.get_or_set("key", slow, 0.05, early=1e-9)
    expire()
    server.command("SET", KEY, 7)
    read_near(cache, 7)
    assert cache.get_or_set("key", lambda: "new", LONG, early=1) == 7


def test_the_end_of_an_older_value_is_not_that_of_a_shared_copy(make_tiered, server, tmp_path, expire):
    options = {"NEAR": "shared", "NEAR_LOCATION": str(tmp_path / "near")}
    first, second = (make_tiered(server.url, SOCKET_TIMEOUT=seconds, **options) for seconds in (5, 6))
    first.get_or_set("key", slow, 0.05, early=1e-9)
    expire()
    server.command("SET", KEY, 7)
    wait_until(lambda: second.get("key") == 7 and second.stats().remote.near_hits, "a copy in the file")
    hits = first.stats().remote.near_hits
    assert first.get_or_set("key", lambda: "new", LONG, early=1) == 7
    assert first.stats().remote.near_hits > hits


def test_hits_save_time(cache):
    cache.get_or_set("key", lambda: time.sleep(0.05), LONG)
    assert cache.stats().time_saved == 0
    for _ in range(3):
        assert cache.get("key", "missing") is None
    assert cache.stats().time_saved >= 0.15
    cache.reset_stats()
    assert cache.stats().time_saved == 0
