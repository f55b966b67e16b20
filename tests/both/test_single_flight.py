"""Single flight: of all threads and tasks that miss a key at the same time, one computes its value."""

import asyncio
import contextlib
import contextvars
import os
import signal
import sys
import threading
import time
import types
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured

from nearcache.django.single_flight.call import HIT, WAIT
from nearcache.django.single_flight.effects import Wait
from support.flights import LONG, Calling, Computation, leading, outcome, wait_for_waits, waiters

pytestmark = pytest.mark.memory_only("a TieredCache has tests of its own")


class FailedError(Exception):
    pass


class TestManyCallers:
    EXPIRIES = 5

    def test_of_64_threads_one_computes_at_each_expiry(self, make_cache, clock):
        cache, threads = make_cache(CLOCK=clock.path), 64
        computation, start = Computation(), threading.Barrier(threads)

        def call():
            start.wait()
            return cache.get_or_set("key", computation, 10)

        for expiry in range(self.EXPIRIES):
            computation.outcome = [expiry]
            calls = [Calling(call) for _ in range(threads)]
            assert [one.result for one in calls] == [[expiry]] * threads
            assert computation.calls == expiry + 1
            clock.advance(10)
        assert cache.stats().flights == self.EXPIRIES

    def test_of_1000_tasks_one_computes_at_each_expiry(self, make_cache, clock):
        cache, calls = make_cache(CLOCK=clock.path), []

        async def compute():
            calls.append(clock.now)
            await asyncio.sleep(0.001)
            return [len(calls)]

        async def use():
            for expiry in range(1, self.EXPIRIES + 1):
                values = await asyncio.gather(*(cache.aget_or_set("key", compute, 10) for _ in range(1000)))
                assert values == [[expiry]] * 1000
                assert len(calls) == expiry
                clock.advance(10)

        asyncio.run(use())
        assert cache.stats().waits == 999 * self.EXPIRIES

    def test_of_threads_and_tasks_together_one_computes(self, make_cache, clock):
        cache, threads, tasks = make_cache(CLOCK=clock.path), 16, 100
        computation, start = Computation(), threading.Barrier(2 * threads)

        def call():
            start.wait()
            return [cache.get_or_set("key", computation, 10)]

        async def gather():
            return await asyncio.gather(*(cache.aget_or_set("key", computation, 10) for _ in range(tasks)))

        def call_in_tasks():
            start.wait()
            return asyncio.run(gather())

        for expiry in range(self.EXPIRIES):
            computation.outcome = expiry
            calls = [Calling(function) for function in [call, call_in_tasks] * threads]
            assert {value for one in calls for value in one.result} == {expiry}
            assert computation.calls == expiry + 1
            clock.advance(10)

    def test_each_key_and_version_has_its_own_flight(self, cache):
        with leading(cache):
            assert cache.get_or_set("other", lambda: "other's") == "other's"
            assert cache.get_or_set("key", lambda: "version 2's", version=2) == "version 2's"

    def test_each_waiter_gets_a_copy_of_its_own(self, cache):
        with leading(cache, computation=Computation({"a": []}, held=True)) as (computation, leader):
            calls = waiters(cache, 3)
            computation.finish()
            values = [leader.result, *(one.result for one in calls)]
        values[0]["a"].append(1)
        values[1]["a"].append(2)
        assert values == [{"a": [1]}, {"a": [2]}, {"a": []}, {"a": []}]
        assert cache.get("key") == {"a": []}


@pytest.fixture
def handled():
    """Let SIGUSR1 raise `KeyboardInterrupt`, as SIGINT does where it is not ignored."""
    before = signal.signal(signal.SIGUSR1, signal.default_int_handler)
    yield
    signal.signal(signal.SIGUSR1, before)


class TestWaiters:
    def test_get_the_leader_s_value(self, cache):
        with leading(cache) as (computation, leader):
            own = Computation("own")
            calls = waiters(cache, 8, own)
            computation.finish()
            assert [one.result for one in calls] == ["leader's"] * 8
            assert leader.result == "leader's"
            assert own.calls == 0

    @pytest.mark.overtakes
    @pytest.mark.parametrize("lock_timeout", [0, 0.01])
    def test_compute_after_their_timeout(self, cache, lock_timeout):
        with leading(cache) as (computation, leader):
            assert cache.get_or_set("key", lambda: "own", None, lock_timeout=lock_timeout) == "own"
            # Its value is stored at once, and that of the leader is not.
            assert cache.get("key") == "own"
            computation.finish()
            assert leader.result == "own"
        assert cache.get("key") == "own"

    @pytest.mark.overtakes
    @pytest.mark.parametrize("lock_timeout", [0, 0.01])
    def test_that_are_tasks_compute_after_their_timeout(self, cache, lock_timeout):
        with leading(cache) as (computation, leader):
            call = cache.aget_or_set("key", lambda: "own", None, lock_timeout=lock_timeout)
            assert asyncio.run(call) == "own"
            computation.finish()
            assert leader.result == "own"

    @pytest.mark.overtakes
    def test_all_compute_after_their_timeout_and_the_first_one_s_value_is_stored(self, cache):
        with leading(cache):
            waits = [cache._join("key", None, 0, None)[1] for _ in range(2)]
            first, second = (cache._lead(wait, True)[1] for wait in waits)
            assert not cache._complete(second, "second", None, 0, 0, 0, 0)
            assert cache._complete(first, "first", None, 0, 0, 0, 0)
        assert cache.get("key") == "first"

    @pytest.mark.parametrize("error", [None, FailedError()], ids=["value", "exception"])
    @pytest.mark.parametrize("way", ["thread", "task", "thread of an event loop"])
    def test_whose_timeout_is_over_when_they_look_again_miss_no_result(self, cache, way, error):
        call = SimpleNamespace(cache=cache)

        async def act():
            return Wait(wait, deadline=0).act(call)

        with leading(cache) as (computation, leader):
            kind, wait, _ = cache._join("key", None, 0, None)
            assert kind == WAIT
            computation.finish(*([error] if error else []))
            assert outcome(leader) == (error or "leader's")
            with pytest.raises(FailedError) if error else contextlib.nullcontext():
                effect = Wait(wait, deadline=0)
                if way == "thread":
                    step = effect.act(call)
                else:
                    step = asyncio.run(effect.aact(call) if way == "task" else act())
                assert step == (HIT, "leader's", None)
        assert cache.get("key") == (None if error else "leader's")

    def test_in_the_thread_of_an_event_loop_do_not_block_it(self, cache):
        """The leader is a task of the same loop, so that waiting for it would be in vain."""

        async def use():
            go = asyncio.Event()

            async def compute():
                await go.wait()
                return "task's"

            leader = asyncio.ensure_future(cache.aget_or_set("key", compute, lock_timeout=LONG))
            await asyncio.sleep(0)
            assert cache.get_or_set("key", lambda: "own", lock_timeout=LONG) == "own"
            go.set()
            return await leader

        assert asyncio.run(use()) == "task's"
        # The caller that could not wait did not overtake the leader.
        assert cache.get("key") == "task's"

    def test_in_a_thread_of_sync_to_async_wait(self, cache):
        async def use():
            own = Computation("own")
            call = sync_to_async(cache.get_or_set, thread_sensitive=False)
            wait = wait_for_waits(cache, 1)
            waiter = asyncio.ensure_future(call("key", own, lock_timeout=LONG))
            await sync_to_async(wait, thread_sensitive=False)()
            computation.finish()
            assert await waiter == "leader's"
            assert own.calls == 0

        with leading(cache) as (computation, _):
            asyncio.run(use())

    @pytest.mark.skipif(sys.platform == "win32", reason="no pthread_kill")
    def test_are_interrupted_by_a_signal(self, cache, handled):
        with leading(cache) as (computation, leader):
            wait, main = wait_for_waits(cache, 1), threading.get_ident()

            def interrupt():
                wait()
                signal.pthread_kill(main, signal.SIGUSR1)

            helper = Calling(interrupt)
            with pytest.raises(KeyboardInterrupt):
                cache.get_or_set("key", lambda: "own", lock_timeout=LONG)
            helper.join(LONG)
            computation.finish()
            assert leader.result == "leader's"
        assert cache.get("key") == "leader's"

    def test_do_not_hold_the_gil(self, cache):
        with leading(cache) as (computation, _):
            kind, wait, _ = cache._join("key", None, 0, None)
            assert kind == WAIT
            # The leader's thread needs the GIL to finish, or this returns False.
            Calling(computation.finish)
            assert wait.sleep(LONG) is True

    def test_that_are_cancelled_leave_the_others_alone(self, cache):
        async def use():
            go = asyncio.Event()

            async def compute():
                await go.wait()
                return "computed"

            tasks = [asyncio.ensure_future(cache.aget_or_set("key", compute)) for _ in range(4)]
            await asyncio.sleep(0)
            tasks[2].cancel()
            await asyncio.sleep(0)
            go.set()
            return await asyncio.gather(*tasks, return_exceptions=True)

        first, second, third, fourth = asyncio.run(use())
        assert [first, second, fourth] == ["computed"] * 3
        assert isinstance(third, asyncio.CancelledError)


class TestLeader:
    def test_that_raises_makes_all_waiters_raise(self, cache):
        failure = FailedError("once")
        with leading(cache) as (computation, leader):
            own = Computation("own")
            calls = waiters(cache, 8, own)
            computation.finish(failure)
            assert [outcome(one) for one in [leader, *calls]] == [failure] * 9
            assert own.calls == 0
        assert "key" not in cache
        assert cache.get_or_set("key", lambda: "next") == "next"

    def test_that_raises_makes_waiting_tasks_raise(self, cache):
        async def compute():
            await asyncio.sleep(0.001)
            raise FailedError

        async def use():
            calls = (cache.aget_or_set("key", compute) for _ in range(8))
            return await asyncio.gather(*calls, return_exceptions=True)

        assert {type(one) for one in asyncio.run(use())} == {FailedError}
        assert asyncio.run(cache.aget_or_set("key", lambda: "next")) == "next"

    @pytest.mark.parametrize(
        "raised", [SystemExit(), KeyboardInterrupt()], ids=lambda error: type(error).__name__
    )
    def test_that_is_ended_is_replaced_by_a_waiter(self, cache, raised):
        with leading(cache) as (computation, leader):
            own = Computation("own")
            calls = waiters(cache, 4, own)
            computation.finish(raised)
            assert [one.result for one in calls] == ["own"] * 4
            assert own.calls == 1
            with pytest.raises(type(raised)):
                _ = leader.result
        assert cache.get("key") == "own"

    def test_task_that_is_cancelled_is_replaced_by_a_waiter(self, cache):
        calls = []

        async def compute():
            calls.append(True)
            if len(calls) == 1:
                await asyncio.Event().wait()
            return "second's"

        async def use():
            leader = asyncio.ensure_future(cache.aget_or_set("key", compute))
            await asyncio.sleep(0)
            others = [asyncio.ensure_future(cache.aget_or_set("key", compute)) for _ in range(4)]
            await asyncio.sleep(0)
            leader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leader
            return await asyncio.gather(*others)

        assert asyncio.run(use()) == ["second's"] * 4
        assert len(calls) == 2

    def test_coroutine_that_is_closed_in_another_context_is_replaced_by_a_waiter(self, cache):
        @types.coroutine
        def pause():
            yield

        leader = cache.aget_or_set("key", pause, LONG)
        contextvars.copy_context().run(leader.send, None)
        (waiter,) = waiters(cache, 1)
        leader.close()
        assert waiter.result == "waiter's"

    def test_that_needs_its_own_key_computes_it(self, cache):
        def compute(depth=0):
            return depth if depth == 3 else cache.get_or_set("key", lambda: compute(depth + 1))

        assert cache.get_or_set("key", compute) == 3
        assert cache.get("key") == 3

    def test_task_that_needs_its_own_key_computes_it(self, cache):
        async def compute(depth=0):
            await asyncio.sleep(0)
            return depth if depth == 3 else await cache.aget_or_set("key", lambda: compute(depth + 1))

        assert asyncio.run(cache.aget_or_set("key", compute)) == 3

    def test_threads_that_need_each_other_s_keys_end(self, cache):
        both = threading.Barrier(2)

        def compute(other):
            both.wait(LONG)
            return [cache.get_or_set(other, lambda: f"{other} within", lock_timeout=LONG)]

        one = Calling(cache.get_or_set, "a", lambda: compute("b"), lock_timeout=LONG)
        two = Calling(cache.get_or_set, "b", lambda: compute("a"), lock_timeout=LONG)
        # One of them, or both, computes what the other one has not finished.
        assert one.result in (["b within"], [["a within"]])
        assert two.result in (["a within"], [["b within"]])

    def test_tasks_that_need_each_other_s_keys_end(self, cache):
        async def compute(other):
            await asyncio.sleep(0.001)
            return [await cache.aget_or_set(other, lambda: f"{other} within", lock_timeout=LONG)]

        async def use():
            return await asyncio.gather(
                cache.aget_or_set("a", lambda: compute("b"), lock_timeout=LONG),
                cache.aget_or_set("b", lambda: compute("a"), lock_timeout=LONG),
            )

        one, two = asyncio.run(use())
        assert one in (["b within"], [["a within"]])
        assert two in (["a within"], [["b within"]])

    def test_thread_and_task_that_need_each_other_s_keys_end(self, cache):
        both = threading.Barrier(2)

        def in_thread():
            both.wait(LONG)
            return [cache.get_or_set("b", lambda: "b within", lock_timeout=LONG)]

        async def in_task():
            both.wait(LONG)
            return [await cache.aget_or_set("a", lambda: "a within", lock_timeout=LONG)]

        one = Calling(cache.get_or_set, "a", in_thread, lock_timeout=LONG)
        two = Calling(lambda: asyncio.run(cache.aget_or_set("b", in_task, lock_timeout=LONG)))
        assert one.result in (["b within"], [["a within"]])
        assert two.result in (["a within"], [["b within"]])

    def test_that_computes_early_for_a_flight_does_not_wait_for_it(self, cache):
        cache.get_or_set("b", lambda: time.sleep(0.001) or "old b")

        def compute_b():
            return "b of " + cache.get_or_set("a", lambda: "inner a", lock_timeout=LONG)

        value = Calling(cache.get_or_set, "a", lambda: "a of " + cache.get_or_set("b", compute_b, early=1e9))
        assert (value.result, cache.get("b")) == ("a of b of inner a", "b of inner a")

    def test_task_that_computes_early_for_a_flight_does_not_wait_for_it(self, cache):
        cache.get_or_set("b", lambda: time.sleep(0.001) or "old b")

        async def compute_b():
            return "b of " + await cache.aget_or_set("a", lambda: "inner a", lock_timeout=LONG)

        async def compute_a():
            return "a of " + await cache.aget_or_set("b", compute_b, early=1e9)

        value = Calling(lambda: asyncio.run(cache.aget_or_set("a", compute_a)))
        assert (value.result, cache.get("b")) == ("a of b of inner a", "b of inner a")

    @pytest.mark.overtakes
    def test_that_overtakes_for_a_flight_does_not_wait_for_it(self, cache):
        def compute_b():
            return "b of " + cache.get_or_set("a", lambda: "inner a", lock_timeout=LONG)

        def compute_a():
            return "a of " + cache.get_or_set("b", compute_b, lock_timeout=0)

        with leading(cache, "b"):
            assert Calling(cache.get_or_set, "a", compute_a).result == "a of b of inner a"

    def test_that_refreshes_for_a_flight_does_not_wait_for_it(self, cache):
        def compute_b():
            return "b of " + cache.get_or_set("a", lambda: "inner a", lock_timeout=LONG)

        value = Calling(cache.get_or_set, "a", lambda: "a of " + cache._refresh("b", compute_b))
        assert value.result == "a of b of inner a"

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
    def test_that_forks_ends_in_both_processes(self, cache):
        def compute():
            nonlocal child
            child = os.fork()
            return "child's" if child == 0 else "parent's"

        child = None
        value = cache.get_or_set("key", compute)
        if child == 0:
            # The child's own calls do not wait for a leader that it does not have.
            fresh = cache.get_or_set("new", lambda: "new")
            # In a SharedCache the parent may have stored its value already.
            os._exit(0 if value in {"child's", "parent's"} and fresh == "new" else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert value == "parent's"

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
    def test_of_the_parent_is_not_waited_for_in_a_child(self, cache, backend):
        if backend.__name__ == "SharedCache":
            pytest.skip("the parent is another process that leads")
        with leading(cache):
            child = os.fork()
            if child == 0:
                call = Calling(cache.get_or_set, "key", lambda: "child's", lock_timeout=LONG)
                os._exit(0 if outcome(call) == "child's" else 1)
            assert os.waitpid(child, 0)[1] == 0


class TestWrites:
    """Another caller writes the key while it is computed."""

    WRITES = {  # noqa: RUF012
        "delete": lambda cache: cache.delete("key"),
        "delete_many": lambda cache: cache.delete_many(["key"]),
        "delete_pattern": lambda cache: cache.delete_pattern("k*"),
        "adelete_pattern": lambda cache: asyncio.run(cache.adelete_pattern("k*")),
        "clear": lambda cache: cache.clear(),
    }

    @pytest.mark.parametrize("write", WRITES)
    @pytest.mark.parametrize("by", ["the leader", "another thread"])
    def test_value_of_a_key_that_was_deleted_is_not_stored(self, cache, write, by):
        if by == "the leader":

            def compute():
                self.WRITES[write](cache)
                return "computed"

            assert cache.get_or_set("key", compute) == "computed"
        else:
            with leading(cache) as (computation, leader):
                calls = waiters(cache, 2)
                self.WRITES[write](cache)
                computation.finish()
                assert [one.result for one in [leader, *calls]] == ["leader's"] * 3
        assert "key" not in cache

    def test_caller_after_a_deletion_computes(self, cache):
        with leading(cache) as (computation, leader):
            cache.delete("key")
            assert cache.get_or_set("key", lambda: "new", lock_timeout=LONG) == "new"
            computation.finish()
            assert leader.result == "new"
        assert cache.get("key") == "new"

    @pytest.mark.parametrize("method", ["set", "add"])
    def test_value_that_was_stored_meanwhile_stays(self, cache, method):
        with leading(cache) as (computation, leader):
            calls = waiters(cache, 2)
            getattr(cache, method)("key", "set")
            computation.finish()
            # As with Django's caches, the leader returns what is stored.
            assert leader.result == "set"
            assert {one.result for one in calls} <= {"set", "leader's"}
        assert cache.get("key") == "set"

    def test_key_that_expires_while_it_is_computed_again(self, make_cache, clock):
        cache = make_cache(CLOCK=clock.path)
        cache.set("key", "old", 10)
        clock.advance(10)
        with leading(cache, timeout=5) as (computation, leader):
            clock.advance(100)
            computation.finish()
            assert leader.result == "leader's"
        # The timeout begins when the value is stored.
        assert cache.ttl("key") == 5


class TestDefault:
    @pytest.mark.parametrize("value", [1, None, "text", [1]])
    def test_may_be_a_value(self, cache, value):
        assert cache.get_or_set("key", value) == value
        assert "key" in cache
        assert asyncio.run(cache.aget_or_set("other", value)) == value
        assert "other" in cache

    def test_may_return_none(self, cache):
        computation = Computation(None)
        assert [cache.get_or_set("key", computation) for _ in range(3)] == [None] * 3
        assert computation.calls == 1

    def test_may_be_a_class(self, cache):
        assert cache.get_or_set("key", dict) == {}

    def test_may_be_awaitable_in_many_ways(self, cache):
        async def compute():
            await asyncio.sleep(0)
            return "computed"

        async def use():
            future = asyncio.get_running_loop().create_future()
            future.set_result("computed")
            for number, default in enumerate(
                [compute, compute(), future, lambda: future, asyncio.ensure_future(compute())]
            ):
                assert await cache.aget_or_set(number, default) == "computed"
                assert cache.get(number) == "computed"

        asyncio.run(use())

    def test_may_raise_stop_iteration(self, cache):
        with pytest.raises(StopIteration):
            cache.get_or_set("key", lambda: next(iter([])))
        assert cache.get_or_set("key", lambda: "next") == "next"

    @pytest.mark.parametrize("many", [False, True])
    def test_may_raise_stop_iteration_for_all(self, cache, many):
        computation = Computation(StopIteration(), held=True)
        if many:
            leader = Calling(cache.get_or_set_many, ["key"], lambda keys: computation())
        else:
            leader = Calling(cache.get_or_set, "key", computation)
        assert computation.began.wait(LONG)
        (thread,) = waiters(cache, 1)
        wait = wait_for_waits(cache, 1)
        task = Calling(lambda: asyncio.run(cache.aget_or_set("key", Computation(), lock_timeout=LONG)))
        wait()
        computation.finish()
        # A coroutine cannot raise StopIteration: Python replaces it.
        outcomes = [type(outcome(one)) for one in (leader, thread, task)]
        assert outcomes == [StopIteration, StopIteration, RuntimeError]

    def test_value_that_cannot_be_pickled_is_an_error_for_all(self, cache):
        with leading(cache) as (computation, leader):
            calls = waiters(cache, 4)
            computation.finish(threading.Lock())
            outcomes = [outcome(one) for one in [leader, *calls]]
        assert {type(one) for one in outcomes} == {TypeError}
        assert "key" not in cache
        assert cache.get_or_set("key", lambda: "next") == "next"

    def test_is_called_without_arguments_that_hold_a_lock_of_the_cache(self, cache):
        def compute():
            cache.set("other", 1)
            return cache.get_many(["other"])

        assert cache.get_or_set("key", compute) == {"other": 1}


class TestStoreIf:
    def test_value_that_is_refused_is_returned_but_not_stored(self, cache):
        computation = Computation("computed")
        for _ in range(2):
            assert cache.get_or_set("key", computation, store_if=lambda value: value is None) == "computed"
        assert computation.calls == 2
        assert cache.get_or_set("key", computation, store_if=lambda value: value == "computed") == "computed"
        assert cache.get("key") == "computed"

    def test_waiters_get_what_is_not_stored(self, cache):
        with leading(cache, store_if=lambda _: False) as (computation, leader):
            calls = waiters(cache, 4)
            computation.finish()
            assert [one.result for one in [leader, *calls]] == ["leader's"] * 5
        assert "key" not in cache

    def test_that_raises_is_an_error_of_the_computation(self, cache):
        with pytest.raises(ZeroDivisionError):
            cache.get_or_set("key", lambda: 1, store_if=lambda _: 1 / 0)
        assert "key" not in cache

    def test_may_raise_stop_iteration(self, cache):
        with pytest.raises(StopIteration):
            cache.get_or_set("key", lambda: 1, store_if=lambda _: next(iter([])))
        assert "key" not in cache

    def test_may_use_the_cache(self, cache):
        def is_stored(value):
            return cache.get_or_set("key", lambda: "within", lock_timeout=LONG) == "within"

        assert (
            cache.get_or_set("key", lambda: "computed", store_if=is_stored, lock_timeout=LONG) == "computed"
        )


WRONG = [
    ({"stale": -1}, ValueError, "stale is -1; expected a number of seconds"),
    ({"stale": "5"}, TypeError, r"stale is '5' \(str\); expected a number of seconds"),
    ({"stale": True}, TypeError, r"stale is True \(bool\)"),
    ({"refresh": "later"}, ValueError, "refresh is 'later'; expected 'caller' or 'background'"),
    ({"refresh": 1}, TypeError, r"refresh is 1 \(int\)"),
    ({"early": float("nan")}, ValueError, "early .*a number, 0 or more"),
    ({"jitter": 1}, ValueError, "jitter is 1; expected a fraction, at least 0 and less than 1"),
    ({"lock_timeout": float("inf")}, ValueError, "lock_timeout is inf"),
    ({"store_if": 1}, TypeError, r"store_if is 1 \(int\); expected a function of the value"),
    ({"distributed": 1}, TypeError, r"distributed is 1 \(int\); expected True or False"),
]
wrong = pytest.mark.parametrize(("options", "error", "message"), WRONG, ids=lambda value: repr(value)[:30])


class TestOptions:
    @wrong
    def test_are_checked_by_a_call_that_computes(self, cache, options, error, message):
        computation = Computation()
        with pytest.raises(error, match=message):
            cache.get_or_set("key", computation, **options)
        with pytest.raises(error, match=message):
            asyncio.run(cache.aget_or_set("key", computation, **options))
        with pytest.raises(error, match=message):
            cache.get_or_set_many(["key"], computation, **options)
        assert computation.calls == 0
        assert cache.get_or_set("key", computation) == "computed"

    @wrong
    def test_of_the_cache_are_checked_when_it_is_opened(self, make_cache, options, error, message):
        with pytest.raises(ImproperlyConfigured, match=f'OPTIONS\\["GET_OR_SET"\\]: {message}'):
            make_cache(GET_OR_SET=options)

    def test_of_the_cache_must_be_a_dictionary_with_known_names(self, make_cache):
        with pytest.raises(
            ImproperlyConfigured, match=r'OPTIONS\["GET_OR_SET"\] is 5; expected a dictionary'
        ):
            make_cache(GET_OR_SET=5)
        with pytest.raises(
            ImproperlyConfigured, match="'STALE' is not an option of get_or_set; expected stale,"
        ):
            make_cache(GET_OR_SET={"STALE": 5})

    @pytest.mark.parametrize("jitter", [-0.1, 1, "much", None])
    def test_jitter_of_the_cache_is_checked(self, make_cache, jitter):
        with pytest.raises(ImproperlyConfigured, match=r'OPTIONS\["JITTER"\] is .*; expected a fraction'):
            make_cache(JITTER=jitter)

    def test_unknown_one_is_refused(self, cache):
        for call in (
            lambda: cache.get_or_set("key", 1, nonsense=1),
            lambda: cache.get_or_set_many(["key"], dict, nonsense=1),
            lambda: asyncio.run(cache.aget_or_set("key", 1, nonsense=1)),
        ):
            with pytest.raises(TypeError, match="nonsense"):
                call()

    @pytest.mark.overtakes
    def test_of_the_cache_are_the_defaults(self, make_cache):
        cache = make_cache(GET_OR_SET={"lock_timeout": 0, "store_if": lambda value: value != "refused"})
        assert cache.get_or_set("other", lambda: "refused") == "refused"
        assert "other" not in cache
        with leading(cache) as (computation, leader):
            assert cache.get_or_set("key", lambda: "own") == "own"
            computation.finish()
            assert leader.result == "own"

    def test_given_one_replaces_that_of_the_cache(self, make_cache):
        cache = make_cache(GET_OR_SET={"lock_timeout": 0})
        with leading(cache) as (computation, _):
            (waiter,) = waiters(cache, 1)
            computation.finish()
            assert waiter.result == "leader's"

    def test_none_is_the_default(self, cache):
        names = ("stale", "refresh", "early", "jitter", "lock_timeout", "store_if", "distributed")
        assert cache.get_or_set("key", lambda: 1, **dict.fromkeys(names)) == 1

    @pytest.mark.parametrize("kind", [Decimal, Fraction])
    def test_may_be_any_real_number(self, cache, kind):
        options = {"stale": kind(1), "early": kind(1), "jitter": kind(1) / 2}
        with leading(cache, **options) as (computation, leader):
            (waiter,) = waiters(cache, 1, lock_timeout=kind(LONG))
            assert cache.get_or_set("key", lambda: "own", lock_timeout=kind(0)) == "own"
            computation.finish()
            assert {leader.result, waiter.result} <= {"leader's", "own"}

    @pytest.mark.parametrize(
        ("early", "error"), [("1", TypeError), (object(), TypeError), (float("nan"), ValueError)]
    )
    def test_early_is_checked_by_a_hit(self, cache, early, error):
        cache.set("key", "stored")
        with pytest.raises(error, match=r"early .*a number, 0 or more"):
            cache.get_or_set("key", "own", early=early)
        with pytest.raises(error, match=r"early .*a number, 0 or more"):
            asyncio.run(cache.aget_or_set("key", "own", early=early))

    def test_distributed_has_no_effect_here(self, cache):
        assert cache.get_or_set("key", lambda: 1, distributed=True) == 1
        assert cache.get_or_set("key", lambda: 2, distributed=True) == 1


class TestStats:
    def test_count_flights_and_waits(self, cache):
        with leading(cache) as (computation, _):
            calls = waiters(cache, 3)
            computation.finish()
            assert [one.result for one in calls] == ["leader's"] * 3
        cache.get_or_set("key", lambda: 1)
        stats = cache.stats()
        assert (stats.flights, stats.waits) == (1, 3)
        assert (stats.stale_hits, stats.refreshes, stats.failed_refreshes) == (0, 0, 0)

    @pytest.mark.parametrize("delta", [1, 0.5, 2**63])
    @pytest.mark.memory_only("the costs of a TieredCache are those that a process knows")
    def test_a_sum_saves_no_time(self, cache, delta):
        def compute():
            time.sleep(0.001)
            return 1

        cache.get_or_set("key", compute)
        cache.get("key")
        assert cache.stats().time_saved > 0
        cache.incr("key", delta)
        cache.reset_stats()
        assert cache.get("key") == 1 + delta
        assert cache.stats().time_saved == 0

    def test_time_saved_is_the_sum_over_the_hits(self, cache):
        def compute():
            time.sleep(0.05)
            return "computed"

        cache.get_or_set("key", compute)
        cache.set("plain", 1)
        assert cache.stats().time_saved == 0
        reads = [
            lambda: cache.get("key"),
            lambda: cache.get_many(["key", "plain"]),
            lambda: cache.get_or_set("key", compute),
            lambda: asyncio.run(cache.aget("key")),
        ]
        saved = []
        for read in reads:
            read()
            saved.append(cache.stats().time_saved)
        once = saved[0]
        assert once >= 0.05
        assert saved == pytest.approx([once * (number + 1) for number in range(4)])
        cache.get("plain")
        assert cache.stats().time_saved == saved[-1]
        cache.reset_stats()
        assert cache.stats().time_saved == 0
