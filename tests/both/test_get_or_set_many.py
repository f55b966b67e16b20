"""`get_or_set_many`: one computation for all keys that are missing, and a flight for each of them."""

import asyncio
import threading

import pytest

from support.flights import (
    LONG,
    Calling,
    Computation,
    leading,
    outcome,
    wait_for_refreshes,
    wait_for_waits,
    waiters,
)

pytestmark = pytest.mark.memory_only("a TieredCache has tests of its own")


class FailedError(Exception):
    pass


class Many:
    """A function for `get_or_set_many`: notes the keys of its calls, and ends when told to if `held`."""

    def __init__(self, value=str.upper, *, held=False):
        self.value = value
        self.calls = []
        self.began, self.go = threading.Event(), threading.Event()
        if not held:
            self.go.set()

    def __call__(self, keys):
        self.calls.append(list(keys))
        self.began.set()
        assert self.go.wait(LONG)
        return {key: self.value(key) for key in keys}


def fail(key):
    raise FailedError(key)


class TestResult:
    def test_has_what_is_there_and_what_is_computed_in_the_order_of_the_keys(self, cache):
        cache.set("b", "old")
        many = Many()
        found = cache.get_or_set_many(["c", "b", "a", "c"], many, 60)
        assert list(found.items()) == [("c", "C"), ("b", "old"), ("a", "A")]
        assert many.calls == [["c", "a"]]
        assert cache.get_many("abc") == found

    def test_of_keys_that_are_all_there_computes_nothing(self, cache):
        cache.set_many({"a": 1, "b": None})
        many = Many()
        assert cache.get_or_set_many(["a", "b"], many) == {"a": 1, "b": None}
        assert cache.get_or_set_many([], many) == {}
        assert many.calls == []

    def test_leaves_out_what_is_not_computed(self, cache):
        assert cache.get_or_set_many(["a", "b"], lambda keys: {"a": 1, "other": 2}) == {"a": 1}
        assert cache.get_many(["a", "b", "other"]) == {"a": 1}
        assert cache.get_or_set_many(["a", "b"], lambda keys: {"b": 2}) == {"a": 1, "b": 2}

    def test_takes_any_iterable_timeout_and_version(self, make_cache, clock):
        cache = make_cache(CLOCK=clock.path)
        assert cache.get_or_set_many((key for key in "ab"), Many(), 10, 2) == {"a": "A", "b": "B"}
        assert cache.get("a") is None
        assert cache.get("a", version=2) == "A"
        clock.advance(10)
        assert cache.get("a", version=2) is None

    def test_has_values_that_are_not_stored(self, cache):
        found = cache.get_or_set_many(["a", "b"], Many(), store_if=lambda value: value == "B")
        assert found == {"a": "A", "b": "B"}
        assert cache.get_many("ab") == {"b": "B"}

    def test_of_keys_of_another_type(self, cache):
        assert cache.get_or_set_many([1, 2.5], lambda keys: dict.fromkeys(keys, 0)) == {1: 0, 2.5: 0}


class TestErrors:
    def test_are_raised_and_nothing_is_stored(self, cache):
        with pytest.raises(FailedError):
            cache.get_or_set_many(["a", "b"], Many(fail))
        assert cache.get_many("ab") == {}
        assert cache.get_or_set_many(["a", "b"], Many()) == {"a": "A", "b": "B"}

    def test_are_raised_in_the_callers_that_wait(self, cache):
        many = Many(fail, held=True)
        leader = Calling(cache.get_or_set_many, ["a", "b"], many, lock_timeout=LONG)
        assert many.began.wait(LONG)
        calls = [waiters(cache, 1, key=key)[0] for key in "ab"]
        many.go.set()
        outcomes = [outcome(one) for one in [leader, *calls]]
        assert [type(one) for one in outcomes] == [FailedError] * 3

    @pytest.mark.parametrize("wrong", [None, ["A"], 5])
    def test_of_a_result_that_is_no_mapping(self, cache, wrong):
        with pytest.raises(TypeError, match=r"default_many returned .*; expected a mapping"):
            cache.get_or_set_many(["a"], lambda keys: wrong)

    @pytest.mark.parametrize("wrong", [None, {"a": 1}])
    def test_of_a_default_that_is_no_function(self, cache, wrong):
        with pytest.raises(
            TypeError, match=r"default_many is .*; expected a function that takes a list of keys"
        ):
            cache.get_or_set_many(["a"], wrong)

    def test_of_a_value_that_cannot_be_pickled(self, cache):
        with pytest.raises(TypeError):
            cache.get_or_set_many(["a", "b"], Many(lambda key: threading.Lock()))
        assert cache.get_or_set_many(["a", "b"], Many()) == {"a": "A", "b": "B"}

    def test_interruption_lets_a_waiter_compute(self, cache):
        def interrupt(key):
            raise KeyboardInterrupt

        many = Many(interrupt, held=True)
        leader = Calling(cache.get_or_set_many, ["a", "b"], many, lock_timeout=LONG)
        assert many.began.wait(LONG)
        (waiter,) = waiters(cache, 1, Computation("own"), key="a")
        many.go.set()
        assert waiter.result == "own"
        with pytest.raises(KeyboardInterrupt):
            _ = leader.result


class TestFlights:
    def test_key_that_another_caller_computes_is_waited_for(self, cache):
        with leading(cache, "b") as (computation, _):
            many, wait = Many(), wait_for_waits(cache, 1)
            call = Calling(cache.get_or_set_many, ["a", "b", "c"], many, lock_timeout=LONG)
            wait()
            # What nobody else computes is there already.
            assert cache.get_many("abc") == {"a": "A", "c": "C"}
            computation.finish()
            assert call.result == {"a": "A", "b": "leader's", "c": "C"}
            assert many.calls == [["a", "c"]]

    def test_other_callers_wait_for_its_keys(self, cache):
        many = Many(held=True)
        leader = Calling(cache.get_or_set_many, ["a", "b"], many, lock_timeout=LONG)
        assert many.began.wait(LONG)
        own = Computation("own")
        calls = [waiters(cache, 1, own, key=key)[0] for key in "ab"]
        many.go.set()
        assert [one.result for one in calls] == ["A", "B"]
        assert leader.result == {"a": "A", "b": "B"}
        assert own.calls == 0

    def test_calls_that_overlap_never_wait_for_each_other(self, make_cache, clock):
        cache, threads = make_cache(CLOCK=clock.path), 16
        start, many = threading.Barrier(threads), Many()
        keys = [f"key-{number}" for number in range(20)]

        def call(number):
            # Each in another order.
            own = keys[number:] + keys[:number]
            start.wait()
            found = cache.get_or_set_many(own, many, 10, lock_timeout=LONG)
            assert list(found) == own
            return found

        for expiry in range(1, 6):
            calls = [Calling(call, number) for number in range(threads)]
            assert {tuple(sorted(one.result.items())) for one in calls} == {
                tuple(sorted((key, key.upper()) for key in keys))
            }
            computed = sorted(key for one in many.calls for key in one)
            assert computed == sorted(keys * expiry)
            clock.advance(10)

    def test_caller_that_waited_in_vain_computes(self, cache):
        with leading(cache, "b") as (computation, leader):
            many, wait = Many(), wait_for_waits(cache, 1)
            call = Calling(cache.get_or_set_many, ["a", "b"], many, lock_timeout=LONG)
            wait()
            computation.finish(KeyboardInterrupt())
            assert call.result == {"a": "A", "b": "B"}
            assert many.calls == [["a"], ["b"]]
            with pytest.raises(KeyboardInterrupt):
                _ = leader.result

    @pytest.mark.overtakes
    def test_timeout_lets_it_compute(self, cache):
        with leading(cache, "b"):
            many = Many()
            found = cache.get_or_set_many(["a", "b"], many, lock_timeout=0)
            assert found == {"a": "A", "b": "B"}
            assert many.calls == [["a"], ["b"]]

    @pytest.mark.parametrize("needed", ["a", "b", "c"])
    def test_computation_that_needs_one_of_its_own_keys_computes_it(self, cache, needed):
        def compute(keys):
            within = cache.get_or_set(needed, lambda: "within", lock_timeout=LONG)
            return dict.fromkeys(keys, within)

        found = cache.get_or_set_many(["a", "b", "c"], compute, lock_timeout=LONG)
        assert found == cache.get_many("abc") == dict.fromkeys("abc", "within")

    @pytest.mark.parametrize("needed", ["a", "b"])
    def test_computations_that_need_each_other_s_keys_end(self, cache, needed):
        both = threading.Barrier(2)

        def compute_many(keys):
            both.wait(LONG)
            return dict.fromkeys(keys, cache.get_or_set("c", lambda: "c within", lock_timeout=LONG))

        def compute():
            both.wait(LONG)
            return [cache.get_or_set(needed, lambda: "within", lock_timeout=LONG)]

        many = Calling(cache.get_or_set_many, ["a", "b"], compute_many, lock_timeout=LONG)
        one = Calling(cache.get_or_set, "c", compute, lock_timeout=LONG)
        # One of them, or both, computes what the other one has not finished.
        assert many.result["b"] in ("c within", ["within"])
        assert one.result in (["within"], ["c within"])

    def test_value_of_a_key_that_is_deleted_meanwhile_is_not_stored(self, cache):
        many = Many(held=True)
        call = Calling(cache.get_or_set_many, ["a", "b"], many)
        assert many.began.wait(LONG)
        cache.delete("a")
        many.go.set()
        assert call.result == {"a": "A", "b": "B"}
        assert cache.get_many("ab") == {"b": "B"}


class TestStale:
    OPTIONS = {"timeout": 10, "stale": 100}  # noqa: RUF012

    @pytest.fixture
    def expired(self, make_cache, clock):
        cache = make_cache(CLOCK=clock.path)
        cache.get_or_set_many(["a", "b"], Many(), **self.OPTIONS)
        clock.advance(10)
        return cache

    def test_old_values_are_returned_while_one_computes(self, expired):
        many = Many(lambda key: "new", held=True)
        leader = Calling(expired.get_or_set_many, ["a", "b"], many, **self.OPTIONS)
        assert many.began.wait(LONG)
        own = Many()
        assert expired.get_or_set_many(["a", "b"], own, **self.OPTIONS) == {"a": "A", "b": "B"}
        assert own.calls == []
        many.go.set()
        assert leader.result == {"a": "new", "b": "new"}

    def test_failure_keeps_the_old_values(self, expired, caplog):
        assert expired.get_or_set_many(["a", "b"], Many(fail), **self.OPTIONS) == {"a": "A", "b": "B"}
        assert len(caplog.records) == 2
        assert (expired.stats().stale_hits, expired.stats().failed_refreshes) == (2, 2)
        assert expired.get_or_set_many(["a"], Many(lambda key: "new"), **self.OPTIONS) == {"a": "new"}

    def test_failure_in_the_background_is_no_second_stale_hit(self, expired):
        values = expired.get_or_set_many(["a", "b"], Many(fail), refresh="background", **self.OPTIONS)
        assert values == {"a": "A", "b": "B"}
        wait_for_refreshes()
        assert (expired.stats().stale_hits, expired.stats().failed_refreshes) == (2, 2)

    def test_failure_is_raised_if_one_key_has_no_old_value(self, expired):
        with pytest.raises(FailedError):
            expired.get_or_set_many(["a", "c"], Many(fail), **self.OPTIONS)
        assert expired.stats().stale_hits == 0

    def test_background_computes(self, expired):
        many = Many(lambda key: "new", held=True)
        values = expired.get_or_set_many(["a", "b"], many, refresh="background", **self.OPTIONS)
        assert values == {"a": "A", "b": "B"}
        assert many.began.wait(LONG)
        calls = waiters(expired, 1, key="a")
        many.go.set()
        assert calls[0].result == "new"


class TestTasks:
    def test_compute_once(self, cache):
        calls = []

        async def compute(keys):
            calls.append(keys)
            await asyncio.sleep(0.001)
            return {key: key.upper() for key in keys}

        async def use():
            return await asyncio.gather(
                *(cache.aget_or_set_many(["a", "b", "c"], compute, lock_timeout=LONG) for _ in range(20)),
                *(cache.aget_or_set_many(["d", "b"], compute, lock_timeout=LONG) for _ in range(20)),
            )

        found = asyncio.run(use())
        assert found[:20] == [{"a": "A", "b": "B", "c": "C"}] * 20
        assert found[20:] == [{"d": "D", "b": "B"}] * 20
        assert sorted(key for one in calls for key in one) == ["a", "b", "c", "d"]

    def test_may_call_a_plain_function(self, cache):
        assert asyncio.run(cache.aget_or_set_many(["a"], Many())) == {"a": "A"}

    def test_that_is_cancelled_leaves_its_keys_to_others(self, cache):
        async def never(keys):
            await asyncio.Event().wait()

        async def use():
            task = asyncio.ensure_future(cache.aget_or_set_many(["a", "b"], never))
            await asyncio.sleep(0)
            waiter = asyncio.ensure_future(cache.aget_or_set("a", lambda: "own", lock_timeout=LONG))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return await waiter

        assert asyncio.run(use()) == "own"
        assert cache.get("b") is None


class TestSubclass:
    def test_sees_the_methods_that_it_overrides(self, make_cache, backend):
        class Compressing(backend):
            def get(self, key, default=None, version=None):
                value = super().get(key, None, version)
                return default if value is None else value[1:-1]

            def set(self, key, value, *args, **kwargs):
                return super().set(key, f"<{value}>", *args, **kwargs)

            def add(self, key, value, *args, **kwargs):
                return super().add(key, f"<{value}>", *args, **kwargs)

        cache = make_cache(backend=Compressing)
        for _ in range(2):
            assert cache.get_or_set_many(["a", "b"], Many()) == {"a": "A", "b": "B"}
            assert cache.get_or_set("key", lambda: "computed", stale=5) == "computed"
        assert backend.get(cache, "a") == "<A>"
        assert backend.get(cache, "key") == "<computed>"
        assert cache._refresh("key", lambda: "again") == "again"
        assert backend.get(cache, "key") == "<again>"
