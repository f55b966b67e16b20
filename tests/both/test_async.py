"""Asynchronous methods do what their synchronous counterparts do, in the event loop's thread."""

import asyncio
import dataclasses
import inspect
import threading
from datetime import datetime, timedelta, timezone
from functools import partial

import pytest
from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from hypothesis import given
from hypothesis import strategies as st

from nearcache.django import LocalCache, SharedCache
from nearcache.django.single_flight.call import Options
from support.tiered_caches import count_entries

# Every asynchronous method of Django's, whatever its version, and every one of ours.
ASYNC_METHODS = sorted(
    name
    for name, method in inspect.getmembers(LocalCache)
    if inspect.iscoroutinefunction(method) and not name.startswith("_")
)

# Arguments that Django's methods do not have.
OURS = {"nx", "xx", "ignore_key_check", "fresh"} | {option.name for option in dataclasses.fields(Options)}

# What is done to a cache that holds {"there": 1, "text": "t", "list": [1]}.
CALLS = [
    ("get", "there"),
    ("get", "missing"),
    ("get", "missing", "default"),
    ("get", "there", None, 2),
    ("get", "list"),
    ("set", "new", [2]),
    ("set", "there", 5, 0),
    ("set", "there", 5, None, 2),
    ("set", "there", 5, "bad timeout"),
    ("set", "there", lambda: None),
    ("add", "new", 1),
    ("add", "there", 2),
    ("add", "there", 2, 60, 2),
    ("touch", "there"),
    ("touch", "there", 0),
    ("touch", "missing", 5),
    ("touch", "there", 5, 2),
    ("delete", "there"),
    ("delete", "missing"),
    ("delete", "there", 2),
    ("has_key", "there"),
    ("has_key", "missing"),
    ("has_key", "there", 2),
    ("incr", "there"),
    ("incr", "there", 2.5),
    ("incr", "text"),
    ("incr", "missing"),
    ("incr", "there", 1, 2),
    ("decr", "there"),
    ("decr", "there", -3),
    ("decr", "missing"),
    ("get_many", ["there", "missing", "text"]),
    ("get_many", {"there"}),
    ("get_many", ["there"], 2),
    ("get_many", None),
    ("set_many", {"a": 1, "there": 2}),
    ("set_many", {"a": 1}, 0),
    ("set_many", {"a": 1}, None, 2),
    ("set_many", {"a": lambda: None}),
    ("set_many", {"there": b"x" * 2_000_000}),
    ("delete_many", ["there", "missing"]),
    ("delete_many", ("there",), 2),
    ("get_or_set", "there", 2),
    ("get_or_set", "new", 2),
    ("get_or_set", "new", lambda: 2),
    ("get_or_set", "new", None),
    ("get_or_set", "new", lambda: 1 / 0),
    ("get_or_set", "new", 2, 0),
    ("get_or_set", "new", 2, None, 2),
    ("get_or_set", "new", lambda: 2, None, None, {"stale": 5, "store_if": lambda value: value > 2}),
    ("get_or_set", "new", lambda: 2, None, None, {"stale": -1}),
    ("get_or_set", "there", lambda: 2, None, None, {"early": 1}),
    ("get_or_set_many", ["there", "new"], lambda keys: dict.fromkeys(keys, 2)),
    ("get_or_set_many", ["there", "new", "new"], lambda keys: {}),
    ("get_or_set_many", ["new", "missing"], lambda keys: dict.fromkeys(keys, 2), 0, 2),
    ("get_or_set_many", ["new"], lambda keys: None),
    ("get_or_set_many", ["new"], 2),
    ("get_or_set_many", ["new"], lambda keys: dict.fromkeys(keys, 2), None, None, {"refresh": 1}),
    ("incr_version", "there"),
    ("incr_version", "there", 5),
    ("incr_version", "missing"),
    ("decr_version", "there"),
    ("decr_version", "missing", 1, 2),
    ("set", "new", 1, None, None, {"nx": True}),
    ("set", "there", 1, None, None, {"nx": True}),
    ("set", "new", 1, None, None, {"xx": True}),
    ("set", "there", 1, None, 2, {"xx": True}),
    ("set", "there", 1, None, None, {"nx": True, "xx": True}),
    ("ttl", "there"),
    ("ttl", "missing"),
    ("ttl", "there", 2),
    ("pttl", "text"),
    ("expire", "there", 0),
    ("expire", "there", timedelta(hours=1)),
    ("expire", "there", "soon"),
    ("expire", "missing", 5),
    ("expire", "there", 5, 2),
    ("pexpire", "there", -1),
    ("pexpire", "there", 1e9, 2),
    ("expire_at", "there", datetime(2001, 2, 3, tzinfo=timezone.utc)),
    ("expire_at", "there", 4e9),
    ("expire_at", "there", None),
    ("pexpire_at", "there", 4e12),
    ("pexpire_at", "text", 1, 2),
    ("persist", "there"),
    ("persist", "missing"),
    ("persist", "there", 2),
    ("keys", "t*"),
    ("keys", "*", 2),
    ("keys", b"*"),
    ("delete_pattern", "t*"),
    ("delete_pattern", "t*", 2),
    ("delete_pattern", None),
    ("stats",),
    ("reset_stats",),
    ("clear",),
    ("close",),
]


@pytest.fixture(autouse=True)
def no_threads(monkeypatch):
    """Let every hop to a thread fail."""

    def refuse(*args, **kwargs):
        raise AssertionError("hopped to a thread")

    monkeypatch.setattr("django.core.cache.backends.base.sync_to_async", refuse)
    monkeypatch.setattr("asgiref.sync.sync_to_async", refuse)
    monkeypatch.setattr("asgiref.sync.SyncToAsync.__call__", refuse)
    monkeypatch.setattr("asyncio.to_thread", refuse)
    monkeypatch.setattr("asyncio.base_events.BaseEventLoop.run_in_executor", refuse)
    monkeypatch.setattr("threading.Thread.start", refuse)


def run_now(coroutine):
    """Run a coroutine without an event loop: it ends at the first step, or it waits for something."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise AssertionError("it waited")


def split(call):
    """Take a call apart: the method, its arguments, and those by name, which are a dict at the end."""
    name, *arguments = call
    by_name = arguments.pop() if arguments and isinstance(arguments[-1], dict) else {}
    if name in {"set_many", "get_many"} and by_name:
        return name, [*arguments, by_name], {}
    return name, arguments, by_name


def name_of(call):
    return " ".join(getattr(one, "__name__", None) or repr(one)[:20] for one in call)


def filled(cache):
    cache.clear()
    cache.reset_stats()
    cache.set_many({"there": 1, "text": "t", "list": [1]})
    return cache


def outcome(call):
    try:
        result = call()
    except Exception as error:
        return "raised", type(error), str(error)
    if isinstance(result, list):  # of keys, in no order
        result.sort(key=repr)
    return "gave", type(result), result


def contents(cache):
    keys = ["there", "text", "list", "new", "a", "missing"]
    return [cache.get_many(keys, version=version) for version in range(-1, 8)]


class TestAgainstSynchronousMethods:
    @pytest.mark.parametrize("call", CALLS, ids=name_of)
    def test_do_and_return_the_same(self, make_cache, clock, call):
        name, arguments, by_name = split(call)
        plain, other = (filled(make_cache(MAX_MEMORY="1MB", CLOCK=clock.path)) for _ in range(2))
        expected = outcome(lambda: getattr(plain, name)(*arguments, **by_name))
        assert outcome(lambda: run_now(getattr(other, f"a{name}")(*arguments, **by_name))) == expected
        assert contents(other) == contents(plain)
        assert other.stats() == plain.stats()

    def test_every_asynchronous_method_is_compared(self):
        assert {f"a{call[0]}" for call in CALLS} == set(ASYNC_METHODS)
        assert len(ASYNC_METHODS) >= 16

    @pytest.mark.parametrize("name", ASYNC_METHODS)
    def test_take_the_same_arguments(self, name):
        def parameters(method):
            return [
                (one.name, one.kind, one.default is not one.empty)
                for one in inspect.signature(method).parameters.values()
                if one.name != "self"
            ]

        twin = parameters(getattr(LocalCache, name[1:]))
        assert parameters(getattr(LocalCache, name)) == twin
        if hasattr(BaseCache, name):
            assert [one for one in twin if one[0] not in OURS] == parameters(getattr(BaseCache, name))

    @given(st.lists(st.sampled_from(CALLS), max_size=20))
    def test_do_the_same_in_any_order(self, make_cache, clock, calls):
        settings = {"MAX_MEMORY": "1MB", "CLOCK": clock.path}
        plain, other = (filled(make_cache(LOCATION=name, **settings)) for name in ("plain", "other"))
        for call in calls:
            name, arguments, by_name = split(call)
            expected = outcome(partial(getattr(plain, name), *arguments, **by_name))
            twin = partial(getattr(other, f"a{name}"), *arguments, **by_name)
            assert outcome(lambda twin=twin: run_now(twin())) == expected
        assert contents(other) == contents(plain)

    def test_take_arguments_by_name(self, cache):
        async def use():
            await cache.aset(key="key", value=1, timeout=None, version=2)
            assert await cache.aget(key="key", default=0, version=2) == 1
            assert await cache.aincr(key="key", delta=2, version=2) == 3
            assert await cache.aget_many(keys=["key"], version=2) == {"key": 3}
            assert await cache.aset_many(data={"key": 4}, timeout=None, version=2) == []
            assert await cache.aadd(key="key", value=1, timeout=None, version=2) is False
            assert await cache.atouch(key="key", timeout=None, version=2) is True
            assert await cache.aget_or_set(key="key", default=1, timeout=None, version=2) == 4
            assert await cache.aincr_version(key="key", delta=1, version=2) == 3
            assert await cache.adelete(key="key", version=3) is True
            await cache.adelete_many(keys=["key"], version=2)

        asyncio.run(use())
        assert count_entries(cache) == 0

    def test_django_s_marker_is_the_default_timeout(self, make_cache, clock):
        cache = make_cache(CLOCK=clock.path, TIMEOUT=10)
        run_now(cache.aset("a", 1, DEFAULT_TIMEOUT))
        run_now(cache.aset_many({"b": 1}))
        run_now(cache.aadd("c", 1))
        clock.advance(9)
        assert len(cache.get_many("abc")) == 3
        clock.advance(1)
        assert cache.get_many("abc") == {}

    @pytest.mark.local_only("the least that MAX_MEMORY can be")
    def test_too_large_values_are_reported_by_aset_many(self, make_cache):
        cache = make_cache(MAX_MEMORY=10_000)
        assert run_now(cache.aset_many({"a": 1, "b": bytes(10_000)})) == ["b"]


class TestVersions:
    def test_aincr_version_moves_the_value(self, cache):
        async def use():
            await cache.aset("key", [1])
            assert await cache.aincr_version("key") == 2
            assert await cache.aget("key") is None
            assert await cache.aget("key", version=2) == [1]
            assert await cache.adecr_version("key", version=2) == 1
            assert await cache.aget("key") == [1]
            assert await cache.aincr_version("key", 5) == 6

        asyncio.run(use())
        assert cache.get("key", version=6) == [1]

    def test_of_missing_key_raises(self, cache):
        for call in (cache.aincr_version, cache.adecr_version, cache.aincr, cache.adecr):
            with pytest.raises(ValueError, match="not found"):
                asyncio.run(call("key"))


class Located:
    """Notes in which thread it is pickled and unpickled."""

    threads = []  # noqa: RUF012

    def __reduce__(self):
        self.threads.append(threading.get_ident())
        return locate, ()


def locate():
    Located.threads.append(threading.get_ident())
    return Located()


class TestThread:
    def test_is_that_of_the_event_loop(self, request, cache):
        Located.threads.clear()

        async def use():
            await cache.aset("a", Located())
            await cache.aadd("b", Located())
            await cache.aset_many({"c": Located()})
            await cache.aget_or_set("d", Located)
            await cache.aget("a")
            await cache.aget_many("abc")

        asyncio.run(use())
        # A SharedCache takes apart what it reads for the second time, to keep it. A near tier in the process
        # takes apart each of its copies; the first reads may come before there are any.
        kept = isinstance(cache, SharedCache)
        copies = 4 if "tiered-local" in request.node.name else 0
        assert 0 <= len(Located.threads) - (4 + 1 + 3 + kept) <= copies
        assert set(Located.threads) == {threading.get_ident()}

    @pytest.mark.memory_only("a task waits for the server")
    def test_other_tasks_do_not_run_in_between(self, cache):
        ran = []

        async def other():
            ran.append("other")

        async def use():
            task = asyncio.ensure_future(other())
            await cache.aset("key", 1)
            await cache.aincr("key")
            await cache.aget_many(["key"])
            ran.append("cache")
            await task

        asyncio.run(use())
        assert ran == ["cache", "other"]


async def make_slowly():
    await asyncio.sleep(0)
    return "made"


async def make_nothing():
    raise ZeroDivisionError


class TestGetOrSet:
    DEFAULTS = {  # noqa: RUF012
        "value": "made",
        "function": lambda: "made",
        "coroutine function": make_slowly,
        "function that returns a coroutine": lambda *_: make_slowly(),
    }
    defaults = pytest.mark.parametrize("default", DEFAULTS.values(), ids=DEFAULTS)

    @defaults
    def test_stores_and_returns_the_default(self, cache, default):
        async def use():
            return await cache.aget_or_set("key", default)

        assert asyncio.run(use()) == "made"
        assert cache.get("key") == "made"

    @defaults
    def test_returns_the_stored_value(self, cache, default):
        cache.set("key", "old")
        assert asyncio.run(cache.aget_or_set("key", default)) == "old"

    def test_does_not_call_the_default_on_a_hit(self, cache):
        cache.set("key", None)
        assert asyncio.run(cache.aget_or_set("key", lambda: 1 / 0)) is None

    def test_awaits_an_awaitable_object(self, cache):
        async def use():
            future = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(future.set_result, "made")
            return await cache.aget_or_set("key", lambda: future)

        assert asyncio.run(use()) == "made"
        assert cache.get("key") == "made"

    def test_returns_what_another_task_stored_meanwhile(self, cache):
        async def slow():
            await cache.aset("key", "other")
            return "mine"

        assert asyncio.run(cache.aget_or_set("key", slow)) == "other"

    def test_returns_a_copy(self, cache):
        default = [1]
        value = asyncio.run(cache.aget_or_set("key", default))
        value.append(2)
        default.append(3)
        assert cache.get("key") == [1]

    @pytest.mark.parametrize("default", [lambda: 1 / 0, make_nothing], ids=["function", "coroutine"])
    def test_error_is_raised_and_nothing_is_stored(self, cache, default):
        with pytest.raises(ZeroDivisionError):
            asyncio.run(cache.aget_or_set("key", default))
        assert "key" not in cache

    def test_stores_nothing_if_cancelled(self, cache):
        async def never():
            await asyncio.Event().wait()

        async def use():
            task = asyncio.ensure_future(cache.aget_or_set("key", never))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(use())
        assert "key" not in cache

    def test_takes_timeout_and_version(self, make_cache, clock):
        cache = make_cache(CLOCK=clock.path)
        asyncio.run(cache.aget_or_set("key", make_slowly, 10, 2))
        assert cache.get("key", version=2) == "made"
        clock.advance(10)
        assert cache.get("key", version=2) is None


class TestManyTasks:
    def test_aincr_loses_none(self, cache):
        async def add():
            for _ in range(10):
                await cache.aincr("count")
                await asyncio.sleep(0)
                await cache.aincr("count", 2)
                await cache.adecr("count")

        async def use():
            await asyncio.gather(*(add() for _ in range(100)))

        cache.set("count", 0)
        asyncio.run(use())
        assert cache.get("count") == 100 * 10 * 2

    def test_aadd_is_won_by_one(self, cache):
        async def add(number):
            await asyncio.sleep(0)
            return await cache.aadd("key", number)

        async def use():
            return await asyncio.gather(*(add(number) for number in range(50)))

        assert asyncio.run(use()).count(True) == 1

    def test_aget_or_set_returns_one_value_to_all(self, cache):
        made = []

        async def make():
            await asyncio.sleep(0)
            made.append(object())
            return len(made)

        async def use():
            return await asyncio.gather(*(cache.aget_or_set("key", make) for _ in range(20)))

        assert set(asyncio.run(use())) == {1}
        assert len(made) == 1
