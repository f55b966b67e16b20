"""Old values that `get_or_set` returns after they have expired, and who computes the new ones."""

import asyncio
import contextlib
import contextvars
import gc
import logging
import os
import textwrap
import threading

import pytest
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache
from django.test import override_settings
from django.utils import translation

from nearcache.django import traced
from nearcache.django.single_flight import background
from nearcache.django.single_flight.call import LEAD
from support.flights import LONG, Calling, Computation, leading, wait_for_refreshes, waiters
from support.isolated import run

pytestmark = pytest.mark.memory_only("a TieredCache has tests of its own")

STALE = {"timeout": 10, "stale": 100}


class FailedError(Exception):
    pass


@pytest.fixture
def cache(make_cache, clock):
    return make_cache(CLOCK=clock.path)


@pytest.fixture
def expired(cache, clock):
    """Return a cache whose key has an old value."""
    assert cache.get_or_set("key", lambda: ["old"], **STALE) == ["old"]
    clock.advance(10)
    return cache


class TestCallers:
    def test_one_computes_and_the_others_get_the_old_value_at_once(self, expired):
        with leading(expired, computation=Computation(["new"], held=True), **STALE) as (computation, leader):
            own = Computation("own")
            assert [expired.get_or_set("key", own, **STALE) for _ in range(3)] == [["old"]] * 3
            assert asyncio.run(expired.aget_or_set("key", own, **STALE)) == ["old"]
            computation.finish()
            assert leader.result == ["new"]
            assert own.calls == 0
        assert expired.get("key") == ["new"]
        stats = expired.stats()
        assert (stats.stale_hits, stats.refreshes, stats.failed_refreshes) == (4, 1, 0)

    def test_of_64_threads_one_computes_at_each_expiry(self, cache, clock):
        threads, computation = 64, Computation()
        start = threading.Barrier(threads)

        def call():
            start.wait()
            return cache.get_or_set("key", computation, **STALE)

        for expiry in range(1, 5):
            computation.outcome = expiry
            calls = [Calling(call) for _ in range(threads)]
            assert {one.result for one in calls} <= {expiry, expiry - 1}
            assert computation.calls == expiry
            clock.advance(10)

    def test_of_100_tasks_one_computes_at_each_expiry(self, cache, clock):
        calls = []

        async def compute():
            calls.append(True)
            await asyncio.sleep(0.001)
            return len(calls)

        async def use():
            for expiry in range(1, 5):
                values = await asyncio.gather(
                    *(cache.aget_or_set("key", compute, **STALE) for _ in range(100))
                )
                assert values.count(expiry) == (100 if expiry == 1 else 1)
                assert set(values) <= {expiry, expiry - 1}
                clock.advance(10)

        asyncio.run(use())
        assert len(calls) == 4

    def test_that_do_not_want_it_wait_for_the_new_value(self, expired):
        with leading(expired, computation=Computation("new", held=True), **STALE) as (computation, _):
            (waiter,) = waiters(expired, 1, stale=0)
            computation.finish()
            assert waiter.result == "new"

    def test_of_other_methods_miss(self, expired):
        assert expired.get("key") is None
        assert expired.get_many(["key"]) == {}
        assert not expired.has_key("key")
        assert expired.ttl("key") == 0
        assert expired.touch("key") is False
        with pytest.raises(ValueError, match="not found"):
            expired.incr("key")
        assert expired.add("key", "added") is True
        assert expired.get_or_set("key", lambda: "new", **STALE) == "added"

    def test_want_it_no_longer_when_it_is_too_old(self, expired, clock):
        clock.advance(100)
        with leading(expired, computation=Computation("new", held=True), **STALE) as (computation, _):
            (waiter,) = waiters(expired, 1, **STALE)
            computation.finish()
            assert waiter.result == "new"
        assert expired.stats().refreshes == 0

    def test_want_it_until_the_last_moment(self, expired, clock):
        clock.advance(99)
        with leading(expired, **STALE):
            assert expired.get_or_set("key", lambda: "own", **STALE) == ["old"]

    @pytest.mark.parametrize("stale", [0.1, 0.75, 100_000, 1e8])
    def test_want_it_no_longer_than_it_was_stored_for(self, cache, clock, stale):
        cache.get_or_set("key", lambda: "old", 10, stale=stale)
        clock.advance(10 + stale * 0.9999)
        assert cache.get_or_set("key", Computation(FailedError()), 10, stale=2 * stale) == "old"
        clock.advance(stale * 0.0002)
        with pytest.raises(FailedError):
            cache.get_or_set("key", Computation(FailedError()), 10, stale=2 * stale)

    @pytest.mark.parametrize("stale", [1e12, 1e20, 1e300])
    def test_want_it_forever(self, cache, clock, stale):
        cache.get_or_set("key", lambda: "old", 10, stale=stale)
        clock.advance(1e9)
        assert cache.get_or_set("key", Computation(FailedError()), 10, stale=stale) == "old"

    def test_may_accept_less_than_was_stored(self, expired, clock):
        clock.advance(50)
        assert expired.get_or_set("key", lambda: "new", timeout=10, stale=50) == "new"
        assert expired.stats().refreshes == 0

    def test_each_get_a_copy(self, expired):
        with leading(expired, **STALE):
            expired.get_or_set("key", lambda: "own", **STALE).append("changed")
            assert expired.get_or_set("key", lambda: "own", **STALE) == ["old"]

    def test_of_a_key_that_was_deleted_compute(self, expired):
        expired.delete("key")
        assert expired.get_or_set("key", lambda: "new", **STALE) == "new"
        assert expired.stats().refreshes == 0

    def test_of_a_key_without_expiry_hit(self, cache, clock):
        cache.get_or_set("key", lambda: "forever", None, stale=5)
        clock.advance(1e9)
        assert cache.get_or_set("key", lambda: "new", None, stale=5) == "forever"

    def test_get_a_value_that_is_no_function_as_new(self, expired):
        assert expired.get_or_set("key", "new", **STALE) == "new"
        assert expired.get("key") == "new"

    def test_options_of_the_cache_say_so(self, make_cache, clock):
        cache = make_cache(CLOCK=clock.path, TIMEOUT=10, GET_OR_SET={"stale": 100})
        cache.get_or_set("key", lambda: "old")
        clock.advance(10)
        with leading(cache):
            assert cache.get_or_set("key", lambda: "own") == "old"


class TestTracedClass:
    def test_keeps_old_values_too(self, make_cache, clock):
        cache = make_cache(backend=traced.LocalCache, CLOCK=clock.path)
        assert cache.get_or_set("key", lambda: "old", **STALE) == "old"
        clock.advance(10)
        with leading(cache, **STALE) as (computation, leader):
            assert cache.get_or_set("key", lambda: "own", **STALE) == "old"
            assert asyncio.run(cache.aget_or_set("key", lambda: "own", **STALE)) == "old"
            computation.finish()
            assert leader.result == "leader's"

    def test_whose_method_is_replaced_calls_that(self, make_cache, clock, monkeypatch):
        cache, calls = make_cache(backend=traced.LocalCache, CLOCK=clock.path), []
        add = traced.LocalCache.add
        monkeypatch.setattr(
            traced.LocalCache, "add", lambda *args, **by_name: calls.append(args[1]) or add(*args, **by_name)
        )
        assert cache.get_or_set("key", lambda: "computed", **STALE) == "computed"
        assert calls == ["key"]


class TestDeletion:
    DELETIONS = {  # noqa: RUF012
        "touch": lambda cache: cache.touch("key", 0),
        "expire": lambda cache: cache.expire("key", 0),
        "expire_at": lambda cache: cache.expire_at("key", 1),
        "set": lambda cache: cache.set("key", "unused", 0),
        "set_many": lambda cache: cache.set_many({"key": "unused"}, 0),
    }

    @pytest.mark.parametrize("delete", DELETIONS)
    def test_by_an_expiry_in_the_past_deletes_the_old_value_too(self, cache, delete):
        cache.get_or_set("key", lambda: "old", **STALE)
        with leading(cache, early=1e15, **STALE) as (computation, _):
            self.DELETIONS[delete](cache)
            with pytest.raises(FailedError):
                cache.get_or_set("key", Computation(FailedError()), **STALE)
            computation.finish()
        assert "key" not in cache

    def test_during_a_refresh_keeps_the_new_value_out(self, expired):
        with leading(expired, **STALE) as (computation, leader):
            expired.delete("key")
            computation.finish()
            assert leader.result == "leader's"
        assert "key" not in expired
        assert expired.get_or_set("key", lambda: "new", **STALE) == "new"


class TestTimeoutThatHasPassed:
    """It deletes the value: nobody gets it as an old one."""

    @pytest.mark.parametrize("method", ["touch", "expire"])
    def test_of_a_live_value_leaves_no_old_one(self, cache, method):
        cache.get_or_set("key", lambda: "old", **STALE)
        assert getattr(cache, method)("key", 0)
        assert cache.get_or_set("key", lambda: "new", refresh="background", **STALE) == "new"
        assert cache.stats().stale_hits == 0

    @pytest.mark.parametrize("method", ["touch", "expire"])
    def test_during_a_refresh_keeps_the_new_value_out(self, cache, method):
        cache.set("key", "old", 10)
        kind, flight, _ = cache._overtake("key", None, None)
        assert kind == LEAD
        assert getattr(cache, method)("key", 0)
        assert not cache._complete(flight, "new", 10, 0, 0, 0, 0)
        assert cache.get("key") is None

    @pytest.mark.parametrize("timeout", [0, -1])
    def test_of_a_computed_value_stores_none(self, cache, timeout):
        for value in "first", "second":
            found = cache.get_or_set(
                "key", lambda value=value: value, timeout, stale=100, refresh="background"
            )
            assert found == value


class TestFailure:
    def test_keeps_the_old_value_and_is_logged(self, expired, caplog):
        with caplog.at_level(logging.ERROR, logger="nearcache"):
            assert expired.get_or_set("key", Computation(FailedError("why")), **STALE) == ["old"]
        (record,) = caplog.records
        assert record.name == "nearcache"
        assert "'key'" in record.getMessage()
        assert record.exc_info[0] is FailedError
        stats = expired.stats()
        assert (stats.stale_hits, stats.refreshes, stats.failed_refreshes) == (1, 1, 1)

    def test_of_a_task_keeps_the_old_value(self, expired, caplog):
        async def fail():
            await asyncio.sleep(0)
            raise FailedError

        assert asyncio.run(expired.aget_or_set("key", fail, **STALE)) == ["old"]
        assert len(caplog.records) == 1

    def test_lets_the_next_caller_try(self, expired, caplog):
        failing = Computation(FailedError())
        assert [expired.get_or_set("key", failing, **STALE) for _ in range(3)] == [["old"]] * 3
        assert failing.calls == len(caplog.records) == 3
        assert expired.get_or_set("key", lambda: "new", **STALE) == "new"

    def test_is_raised_when_the_old_value_is_too_old(self, expired, clock):
        clock.advance(100)
        with pytest.raises(FailedError):
            expired.get_or_set("key", Computation(FailedError()), **STALE)

    def test_of_a_value_that_cannot_be_stored_keeps_the_old_one(self, expired, caplog):
        assert expired.get_or_set("key", threading.Lock, **STALE) == ["old"]
        assert len(caplog.records) == 1

    def test_that_is_no_exception_is_raised(self, expired):
        with pytest.raises(KeyboardInterrupt):
            expired.get_or_set("key", Computation(KeyboardInterrupt()), **STALE)
        assert expired.get_or_set("key", lambda: "new", **STALE) == "new"


BACKGROUND = {**STALE, "refresh": "background"}


class TestBackground:
    def test_caller_gets_the_old_value_and_a_thread_computes(self, expired):
        computation = Computation("new", held=True)
        assert expired.get_or_set("key", computation, **BACKGROUND) == ["old"]
        assert computation.began.wait(LONG)
        assert expired.get_or_set("key", lambda: "own", **BACKGROUND) == ["old"]
        computation.finish()
        wait_for_refreshes()
        assert expired.get("key") == "new"
        stats = expired.stats()
        assert (stats.stale_hits, stats.refreshes) == (2, 1)

    def test_failure_is_no_second_stale_hit(self, expired):
        assert expired.get_or_set("key", Computation(FailedError()), **BACKGROUND) == ["old"]
        wait_for_refreshes()
        stats = expired.stats()
        assert (stats.stale_hits, stats.refreshes, stats.failed_refreshes) == (1, 1, 1)

    def test_first_value_is_computed_by_the_caller(self, cache):
        assert cache.get_or_set("key", threading.get_ident, **BACKGROUND) == threading.get_ident()

    def test_thread_has_the_caller_s_context(self, expired):
        tenant = contextvars.ContextVar("tenant", default=None)
        tenant.set("own")
        with translation.override("fr"):
            expired.get_or_set("key", lambda: (tenant.get(), translation.get_language()), **BACKGROUND)
        tenant.set("changed")
        wait_for_refreshes()
        assert expired.get("key") == ("own", "fr")

    def test_thread_does_not_change_the_caller_s_context(self, expired):
        tenant = contextvars.ContextVar("tenant", default="own")
        expired.get_or_set("key", lambda: tenant.set("changed") and "new", **BACKGROUND)
        wait_for_refreshes()
        assert expired.get("key") == "new"
        assert tenant.get() == "own"

    def test_thread_does_not_change_the_caller_s_language(self, expired):
        with translation.override("fr"):
            expired.get_or_set("key", lambda: translation.activate("de") or "new", **BACKGROUND)
            wait_for_refreshes()
            assert expired.get("key") == "new"
            assert translation.get_language() == "fr"

    def test_context_may_have_values_that_cannot_be_compared(self, expired):
        class Array:
            def __eq__(self, other):
                raise ValueError

            __hash__ = None

        array, variable = Array(), contextvars.ContextVar("array")
        token = variable.set(array)
        expired.get_or_set("key", lambda: variable.get() is array, **BACKGROUND)
        variable.reset(token)
        wait_for_refreshes()
        assert expired.get("key") is True

    @pytest.mark.parametrize("result", ["new", FailedError()], ids=["value", "error"])
    def test_thread_closes_its_connections(self, expired, monkeypatch, result):
        closed = []
        monkeypatch.setattr(
            "django.db.connections.close_all", lambda: closed.append(threading.get_ident()), raising=False
        )
        computation = Computation(result)
        expired.get_or_set("key", computation, **BACKGROUND)
        wait_for_refreshes()
        assert computation.calls == len(closed) == 1
        assert closed[0] != threading.get_ident()

    @override_settings(CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}})
    def test_thread_has_cache_objects_of_its_own_and_closes_them(self, expired, monkeypatch):
        used, closed = [], []
        monkeypatch.setattr(LocMemCache, "close", lambda self, **kwargs: closed.append(self))
        own = caches["default"]
        expired.get_or_set("key", lambda: used.append(caches["default"]) or "new", **BACKGROUND)
        wait_for_refreshes()
        assert expired.get("key") == "new"
        assert used[0] is not own
        assert closed == used
        assert caches["default"] is own

    def test_failure_keeps_the_old_value_and_is_logged(self, expired, caplog):
        assert expired.get_or_set("key", Computation(FailedError()), **BACKGROUND) == ["old"]
        wait_for_refreshes()
        assert len(caplog.records) == 1
        assert expired.get_or_set("key", lambda: "new", **STALE) == "new"
        assert expired.stats().failed_refreshes == 1

    def test_end_without_a_value_is_logged(self, expired, caplog):
        assert expired.get_or_set("key", Computation(SystemExit("why")), **BACKGROUND) == ["old"]
        wait_for_refreshes()
        (record,) = caplog.records
        assert "'key'" in record.getMessage()
        assert record.exc_info[0] is SystemExit
        assert expired.stats().failed_refreshes == 1
        assert expired.get_or_set("key", lambda: "new", **STALE) == "new"

    def test_end_of_several_keys_without_values_is_logged(self, cache, clock, caplog):
        def titles(keys):
            return {key: key.title() for key in keys}

        def leave(keys):
            raise SystemExit

        keys = ["emma", "persuasion"]
        assert cache.get_or_set_many(keys, titles, **STALE) == titles(keys)
        clock.advance(10)
        assert cache.get_or_set_many(keys, leave, **BACKGROUND) == titles(keys)
        wait_for_refreshes()
        assert [record.exc_info[0] for record in caplog.records] == [SystemExit] * 2
        assert cache.stats().failed_refreshes == 2

    def test_end_of_a_task_without_a_value_is_logged(self, expired, caplog):
        class Left(BaseException):
            pass

        async def use():
            assert await expired.aget_or_set("key", Computation(Left()), **BACKGROUND) == ["old"]
            (task,) = background._tasks
            with pytest.raises(Left):
                await task

        asyncio.run(use())
        (record,) = caplog.records
        assert record.exc_info[0] is Left
        assert expired.stats().failed_refreshes == 1

    def test_failure_before_computing_is_logged(self, expired, caplog, monkeypatch):
        failing = Computation(FailedError())
        monkeypatch.setattr(background, "_move_locals", lambda context: failing())
        assert expired.get_or_set("key", lambda: "new", **BACKGROUND) == ["old"]
        wait_for_refreshes()
        (record,) = caplog.records
        assert record.exc_info[0] is FailedError
        assert expired.stats().failed_refreshes == 1
        assert expired.get_or_set("key", lambda: "new", **STALE) == "new"

    def test_threads_and_refreshes_that_wait_are_bounded(self, cache, clock):
        most = background.THREADS + background.WAITING
        keys = [f"key-{number}" for number in range(most + 2)]
        for key in keys:
            cache.get_or_set(key, lambda: "old", **STALE)
        clock.advance(10)
        computation = Computation("new", held=True)
        values = [cache.get_or_set(key, computation, **BACKGROUND) for key in keys[:most]]
        assert values == ["old"] * most
        # There is no place: the callers compute.
        assert [cache.get_or_set(key, lambda: "own", **BACKGROUND) for key in keys[most:]] == ["own"] * 2
        assert computation.calls <= background.THREADS
        computation.finish()
        wait_for_refreshes()
        assert computation.calls == most
        assert set(cache.get_many(keys).values()) == {"new", "own"}

    def test_that_no_thread_can_be_started_for_is_computed_once_by_the_caller(
        self, cache, clock, monkeypatch
    ):
        monkeypatch.setattr(background, "_pool", None)
        for key in ["busy", "key"]:
            cache.get_or_set(key, lambda: "old", **STALE)
        clock.advance(10)
        # The pool has one thread, which is busy until the caller computes.
        busy = Computation("new", held=True)
        assert cache.get_or_set("busy", busy, **BACKGROUND) == "old"
        assert busy.began.wait(LONG)
        monkeypatch.setattr(threading.Thread, "start", Computation(RuntimeError("can't start new thread")))
        calls = []

        def compute():
            calls.append(threading.get_ident())
            busy.finish()
            # Returns when the thread has done everything that was queued before.
            drained = threading.Event()
            with contextlib.suppress(RuntimeError):
                background._pool.executor.submit(drained.set)
            assert drained.wait(LONG)
            return "own"

        assert cache.get_or_set("key", compute, **BACKGROUND) == "own"
        assert calls == [threading.get_ident()]
        assert cache.get("key") == "own"
        wait_for_refreshes()

    @override_settings(NEARCACHE_BACKGROUND_REFRESH=False)
    def test_can_be_switched_off(self, expired):
        assert expired.get_or_set("key", threading.get_ident, **BACKGROUND) == threading.get_ident()
        assert expired.get("key") == threading.get_ident()

    @override_settings(NEARCACHE_BACKGROUND_REFRESH=False)
    def test_of_a_task_can_be_switched_off(self, expired):
        assert asyncio.run(expired.aget_or_set("key", lambda: "new", **BACKGROUND)) == "new"

    def test_of_a_task_is_a_task_with_its_context(self, expired):
        tenant = contextvars.ContextVar("tenant", default=None)

        async def use():
            go = asyncio.Event()

            async def compute():
                await go.wait()
                return tenant.get()

            tenant.set("own")
            assert await expired.aget_or_set("key", compute, **BACKGROUND) == ["old"]
            tenant.set("changed")
            assert await expired.aget_or_set("key", lambda: "other's", **BACKGROUND) == ["old"]
            (task,) = background._tasks
            go.set()
            await task
            assert not background._tasks

        asyncio.run(use())
        assert expired.get("key") == "own"

    def test_task_that_is_cancelled_at_the_end_of_the_loop_is_computed_again(self, expired):
        async def use():
            assert await expired.aget_or_set("key", asyncio.Event().wait, **BACKGROUND) == ["old"]
            await asyncio.sleep(0)

        asyncio.run(use())
        assert expired.get_or_set("key", lambda: "new", **STALE) == "new"

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
    def test_task_of_the_parent_is_not_ended_in_a_child(self, expired):
        events = []

        async def compute():
            events.append("began")
            try:
                await asyncio.Event().wait()
            finally:
                events.append("ended")

        async def use():
            assert await expired.aget_or_set("key", compute, **BACKGROUND) == ["old"]
            await asyncio.sleep(0)
            assert events == ["began"]
            child = os.fork()
            if not child:
                gc.collect()
                os._exit(events.count("ended"))
            _, status = os.waitpid(child, 0)
            assert os.waitstatus_to_exitcode(status) == 0

        asyncio.run(use())
        assert events == ["began", "ended"]

    def test_refresh_that_was_started_is_finished_at_exit(self, tmp_path):
        program = """
            import sys, time
            from django.conf import settings
            settings.configure()
            from nearcache.django import LocalCache
            from support.manual_clock import CLOCK

            cache = LocalCache("exit", {"OPTIONS": {"CLOCK": CLOCK.path}})
            keys = [f"key-{number}" for number in range(20)]
            for key in keys:
                cache.get_or_set(key, lambda: "old", 10, stale=100)
            CLOCK.advance(10)

            def compute(key):
                time.sleep(0.01)
                with open(sys.argv[1], "a") as file:
                    file.write(f"{key}\\n")
                return "new"

            for key in keys:
                value = cache.get_or_set(
                    key, lambda key=key: compute(key), 10, stale=100, refresh="background"
                )
                assert value == "old"
        """
        run("-c", textwrap.dedent(program), str(tmp_path / "finished"))
        finished = (tmp_path / "finished").read_text().split()
        assert sorted(finished) == sorted(f"key-{number}" for number in range(20))


class TestEarly:
    """XFetch, with a beta so large that a value is always due."""

    EARLY = {"timeout": 1000, "early": 1e12}  # noqa: RUF012

    @pytest.fixture
    def filled(self, cache):
        def compute():
            threading.Event().wait(0.002)
            return "old"

        cache.get_or_set("key", compute, 1000)
        return cache

    def test_one_computes_and_the_others_get_the_value(self, filled):
        with leading(filled, **self.EARLY) as (computation, leader):
            own = Computation("own")
            assert filled.get_or_set("key", own, **self.EARLY) == "old"
            assert asyncio.run(filled.aget_or_set("key", own, **self.EARLY)) == "old"
            assert filled.get("key") == "old"
            computation.finish()
            assert leader.result == "leader's"
            assert own.calls == 0
        assert filled.get("key") == "leader's"
        assert filled.stats().refreshes == 1

    def test_task_computes(self, filled):
        assert asyncio.run(filled.aget_or_set("key", lambda: "new", **self.EARLY)) == "new"
        assert filled.get("key") == "new"

    def test_failure_keeps_the_value(self, filled, caplog):
        assert filled.get_or_set("key", Computation(FailedError()), **self.EARLY) == "old"
        assert len(caplog.records) == 1
        assert filled.get("key") == "old"
        # It has not expired.
        stats = filled.stats()
        assert (stats.stale_hits, stats.refreshes, stats.failed_refreshes) == (0, 1, 1)

    def test_background_computes(self, filled):
        assert filled.get_or_set("key", lambda: "new", refresh="background", **self.EARLY) == "old"
        wait_for_refreshes()
        assert filled.get("key") == "new"
        stats = filled.stats()
        assert (stats.refreshes, stats.stale_hits) == (1, 0)

    def test_flight_ends_with_the_error_of_an_option(self, filled):
        # The error has the traceback, which has the flight.
        with pytest.raises(TypeError) as raised:
            filled.get_or_set("key", lambda: "own", stale="5", **self.EARLY)
        assert filled.get_or_set("key", lambda: "new", **self.EARLY) == "new"
        assert raised

    def test_flight_of_a_task_ends_with_the_error_of_an_option(self, filled):
        with pytest.raises(TypeError) as raised:
            asyncio.run(filled.aget_or_set("key", lambda: "own", stale="5", **self.EARLY))
        assert filled.get_or_set("key", lambda: "new", **self.EARLY) == "new"
        assert raised

    def test_0_never_computes_early(self, filled, clock):
        clock.advance(999)
        own = Computation("own")
        assert {filled.get_or_set("key", own, 1000) for _ in range(1000)} == {"old"}
        assert own.calls == 0

    def test_value_without_expiry_is_never_due(self, cache):
        cache.get_or_set("key", lambda: "old", None)
        assert cache.get_or_set("key", lambda: "new", None, early=1e12) == "old"

    def test_value_that_was_not_computed_is_never_due(self, cache):
        cache.set("key", "old", 1000)
        assert cache.get_or_set("key", lambda: "new", **self.EARLY) == "old"

    def test_small_beta_computes_near_the_end_only(self, filled, clock):
        own = Computation("own")
        assert {filled.get_or_set("key", own, 1000, early=1) for _ in range(1000)} == {"old"}
        assert own.calls == 0

    def test_default_that_is_no_function_is_not_used(self, filled):
        assert filled.get_or_set("key", "new", **self.EARLY) == "old"
        assert asyncio.run(filled.aget_or_set("key", "new", **self.EARLY)) == "old"

    def test_option_of_the_cache_is_the_default(self, make_cache, clock):
        cache = make_cache(CLOCK=clock.path, GET_OR_SET={"early": 1e12})

        def compute():
            threading.Event().wait(0.002)
            return "old"

        cache.get_or_set("key", compute)
        assert cache.get_or_set("key", lambda: "own", early=0) == "old"
        assert cache.get_or_set("key", lambda: "new") == "new"


class TestJitter:
    @staticmethod
    def lifetimes(cache, keys):
        return [cache.pttl(key) / 1000 for key in keys]

    def check(self, lifetimes, least, most):
        assert least <= min(lifetimes)
        assert max(lifetimes) <= most
        # About a tenth of so many random numbers is in each tenth of the range.
        for tenth in range(10):
            low = least + (most - least) * tenth / 10
            assert sum(low <= one <= low + (most - least) / 10 for one in lifetimes) >= len(lifetimes) / 20

    def test_of_a_call_shortens_the_timeout(self, cache):
        keys = range(1000)
        for key in keys:
            cache.get_or_set(key, lambda: 1, 1000, jitter=0.5)
        self.check(self.lifetimes(cache, keys), 500, 1000)

    @pytest.mark.parametrize(
        "store",
        [
            lambda cache, keys: [cache.set(key, 1, 1000) for key in keys],
            lambda cache, keys: [cache.add(key, 1, 1000) for key in keys],
            lambda cache, keys: cache.set_many(dict.fromkeys(keys, 1), 1000),
            lambda cache, keys: [cache.get_or_set(key, lambda: 1, 1000) for key in keys],
        ],
        ids=["set", "add", "set_many", "get_or_set"],
    )
    def test_of_the_cache_shortens_all_timeouts(self, make_cache, clock, store):
        cache, keys = make_cache(CLOCK=clock.path, JITTER=0.2), range(1000)
        store(cache, keys)
        self.check(self.lifetimes(cache, keys), 800, 1000)

    def test_of_get_or_set_replaces_that_of_the_cache(self, make_cache, clock):
        cache = make_cache(CLOCK=clock.path, JITTER=0.9, GET_OR_SET={"jitter": 0})
        for key in range(100):
            cache.get_or_set(key, lambda: 1, 1000)
        assert set(self.lifetimes(cache, range(100))) == {1000}

    def test_does_not_change_timeouts_that_are_given_later(self, make_cache, clock):
        cache = make_cache(CLOCK=clock.path, JITTER=0.9)
        cache.set("key", 1)
        cache.touch("key", 1000)
        assert cache.ttl("key") == 1000
        cache.expire("key", 500)
        assert cache.ttl("key") == 500

    def test_leaves_values_without_expiry_alone(self, make_cache, clock):
        cache = make_cache(CLOCK=clock.path, JITTER=0.9)
        cache.set("key", 1, None)
        assert cache.ttl("key") is None
        cache.set("key", 1, 0)
        assert "key" not in cache
