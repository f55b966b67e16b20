"""Random operations do the same with LocalCache and LocMemCache; and the differences.

The known differences, each with a test in `TestDifferences`:

- `delete` of an entry whose time is over: LocMemCache answers True if it is still there, LocalCache False.
- A timeout too large for a float: LocMemCache raises OverflowError, LocalCache stores it without an expiry.
- A timeout that is no number: LocMemCache notices when it has stored the value, LocalCache before.
- A timeout that is NaN: LocMemCache takes it and the value never expires, LocalCache refuses it.
- A timeout that is a Decimal: LocMemCache raises TypeError, LocalCache takes it as the number it is.
"""

import decimal
import math
import random

import pytest
from django.core.cache.backends.base import DEFAULT_TIMEOUT
from hypothesis import example, given, settings
from hypothesis import strategies as st

from support.caches import new_location

HUGE = 10**400


@pytest.fixture
def cache(make_cache, clock):
    """Return a cache whose time stands still."""
    return make_cache(CLOCK=clock.path)


class TestDifferences:
    """What both do where they differ. A difference that does not exist fails."""

    def test_delete_of_an_expired_entry(self, cache, locmem, clock):
        for each, answer in ((cache, False), (locmem, True)):
            each.set("key", 1, 10)
            clock.advance(10)
            assert each.delete("key") is answer

    def test_delete_of_an_entry_set_with_timeout_zero(self, cache, locmem):
        for each, answer in ((cache, False), (locmem, True)):
            each.set("key", 1, 0)
            assert each.delete("key") is answer

    def test_timeout_too_large_for_a_float(self, cache, locmem):
        cache.set("key", 1, HUGE)
        assert cache.get("key") == 1
        with pytest.raises(OverflowError):
            locmem.set("key", 1, HUGE)

    def test_timeout_that_is_not_a_number(self, cache, locmem):
        for each, left in ((cache, "old"), (locmem, "new")):
            each.set("key", "old")
            with pytest.raises(TypeError):
                each.set("key", "new", "5")
            assert each.get("key") == left

    def test_timeout_that_is_a_decimal(self, cache, locmem, clock):
        cache.set("key", 1, decimal.Decimal("1.5"))
        clock.advance(1.5)
        assert "key" not in cache
        with pytest.raises(TypeError):
            locmem.set("key", 1, decimal.Decimal("1.5"))

    def test_timeout_that_is_nan(self, cache, locmem):
        with pytest.raises(ValueError, match="not NaN"):
            cache.set("key", 1, math.nan)
        locmem.set("key", 1, math.nan)
        assert locmem.get("key") == 1


# --- any operations, on both caches -----------------------------------------------------------------

KEYS = st.sampled_from(["a", "b", "c", "d", 5, "ü"])
VERSIONS = st.sampled_from([None, None, None, 1, 2, 3, "v"])
NUMBERS = st.one_of(st.integers(-5, 5), st.sampled_from([0.5, 2**63, -1.25]))
VALUES = st.one_of(NUMBERS, st.sampled_from([None, True, "text", [1], {"a": [2]}, (3, [4])]))
# Seconds that a float tells exactly: one cache reckons in floats and the other in whole microseconds.
SECONDS = st.sampled_from([1, 2, 5, 10, 0.5, 1.25, 300, 299])
TIMEOUTS = st.one_of(
    st.just(DEFAULT_TIMEOUT),
    st.none(),
    SECONDS,
    st.sampled_from([0, -1, -0.5, 0.0, 10**12, True, False, 1e300]),
)


def operation(name, **arguments):
    return st.tuples(st.just(name), st.fixed_dictionaries(arguments))


OPERATIONS = st.one_of(
    operation("get", key=KEYS, default=st.sampled_from([None, "default"]), version=VERSIONS),
    operation("set", key=KEYS, value=VALUES, timeout=TIMEOUTS, version=VERSIONS),
    operation("add", key=KEYS, value=VALUES, timeout=TIMEOUTS, version=VERSIONS),
    operation("touch", key=KEYS, timeout=TIMEOUTS, version=VERSIONS),
    operation("incr", key=KEYS, delta=NUMBERS, version=VERSIONS),
    operation("decr", key=KEYS, delta=NUMBERS, version=VERSIONS),
    operation("delete", key=KEYS, version=VERSIONS),
    operation("has_key", key=KEYS, version=VERSIONS),
    operation("get_many", keys=st.lists(KEYS, max_size=5), version=VERSIONS),
    operation("set_many", data=st.dictionaries(KEYS, VALUES, max_size=4), timeout=TIMEOUTS, version=VERSIONS),
    operation("delete_many", keys=st.lists(KEYS, max_size=4), version=VERSIONS),
    operation("get_or_set", key=KEYS, default=VALUES, timeout=TIMEOUTS, version=VERSIONS),
    operation("incr_version", key=KEYS, delta=st.integers(-2, 2), version=VERSIONS),
    operation("decr_version", key=KEYS, delta=st.integers(-2, 2), version=VERSIONS),
    operation("clear"),
    st.tuples(st.just("advance"), SECONDS),
)


def outcome(cache, name, arguments):
    """Return what an operation gives, types included, or the error it raises."""
    try:
        result = getattr(cache, name)(**arguments)
    except Exception as error:
        return "raised", type(error), str(error)
    return "gave", type(result), repr(result)


def contents(cache):
    return {
        (key, version): outcome(cache, "get", {"key": key, "default": "missing", "version": version})
        for key in ["a", "b", "c", "d", 5, "ü"]
        for version in [None, *range(-3, 8), "v"]
    }


def compare(cache, locmem, clock, operations):
    """Do the same to both; return what came of it."""
    outcomes = []
    for name, arguments in operations:
        if name == "advance":
            clock.advance(arguments)
            continue
        if name == "delete":
            # The one difference allowed: it makes LocMemCache notice what has expired.
            locmem.has_key(**arguments)
        ours, django = outcome(cache, name, arguments), outcome(locmem, name, arguments)
        assert ours == django, (name, arguments)
        outcomes.append(ours)
    assert contents(cache) == contents(locmem)
    return outcomes


class TestAgainstLocMem:
    @given(st.lists(OPERATIONS, min_size=15, max_size=60))
    @settings(max_examples=500)
    @example([("set", {"key": "a", "value": 1, "timeout": 5}), ("advance", 5), ("incr", {"key": "a"})])
    def test_any_operations_do_the_same(self, make_cache, make_locmem, clock, operations):
        compare(make_cache(CLOCK=clock.path), make_locmem(), clock, operations)

    @pytest.mark.parametrize("eviction", ["adaptive", "s3-fifo", "lru"])
    @pytest.mark.parametrize("default", [None, 0, 5, -1])
    def test_long_runs_do_the_same(self, make_cache, make_locmem, clock, eviction, default):
        caches = (
            make_cache(CLOCK=clock.path, EVICTION=eviction, TIMEOUT=default, KEY_PREFIX="p", VERSION=2),
            make_locmem(TIMEOUT=default, KEY_PREFIX="p", VERSION=2),
        )
        outcomes = compare(*caches, clock, random_operations(5_000, seed=f"{eviction} {default}"))
        # Both hits and misses, or nothing was compared.
        kinds = {outcome[:2] for outcome in outcomes}
        assert {("gave", bool), ("gave", dict), ("gave", int), ("raised", ValueError)} <= kinds

    @given(st.lists(OPERATIONS, min_size=10, max_size=40), st.integers(0, 1000))
    def test_two_handles_of_one_store_do_the_same(self, make_cache, make_locmem, clock, operations, seed):
        location = new_location()
        ours = [make_cache(LOCATION=location, CLOCK=clock.path, KEY_PREFIX=p) for p in "ab"]
        django = [make_locmem(LOCATION=location, KEY_PREFIX=p) for p in "ab"]
        chance = random.Random(seed)
        for step in operations:
            one = chance.randrange(2)
            compare(ours[one], django[one], clock, [step])


def random_operations(count, seed):
    """Like OPERATIONS, but thousands: hypothesis's own are meant to be shrunk, so they are short."""
    chance = random.Random(seed)
    pick = chance.choice
    timeouts = [DEFAULT_TIMEOUT, None, 0, -1, 1, 2, 10, 0.5, 1000]
    for _ in range(count):
        keyed = {"key": pick("abcdef"), "version": pick([None, None, 2, 3])}
        timed = {**keyed, "timeout": pick(timeouts)}
        number = pick([0, 1, -3, 0.5, 2**70])
        yield pick(
            [
                ("get", keyed),
                ("get", keyed),
                ("has_key", keyed),
                ("set", {**timed, "value": pick([number, "text", [number]])}),
                ("add", {**timed, "value": number}),
                ("touch", timed),
                ("incr", {**keyed, "delta": number}),
                ("decr", {**keyed, "delta": number}),
                ("delete", keyed),
                ("get_or_set", {**timed, "default": number}),
                ("get_many", {"keys": "abcdef", "version": keyed["version"]}),
                ("incr_version", keyed),
                ("advance", pick([0.5, 1, 3])),
            ]
        )
