"""Types of timeouts that are accepted as numbers, and the precision of lifetimes by the system's clock."""

import time
from decimal import Decimal
from fractions import Fraction

import pytest
from django.utils.functional import SimpleLazyObject, lazy


@pytest.fixture
def cache(make_cache):
    """Return a cache that reads the system's clock."""
    return make_cache()


class Float:
    """A number by ``__float__``."""

    def __init__(self, seconds):
        self.seconds = seconds

    def __float__(self):
        return float(self.seconds)


class Index:
    """A number by ``__index__`` alone."""

    def __index__(self):
        return 300


class Added:
    """A number that can only be added to another one, as Django adds it to ``time.time()``."""

    def __radd__(self, other):
        return other + 300


def _numpy(kind):
    def make():
        return getattr(pytest.importorskip("numpy"), kind)(300)

    return make


REAL = {
    "decimal": lambda: Decimal(300),
    "fraction": lambda: Fraction(600, 2),
    "lazy_object": lambda: SimpleLazyObject(lambda: 300),
    "lazy": lazy(lambda: 300, int),
    "by_float": lambda: Float(300),
    "by_index": Index,
    "by_addition": Added,
    **{kind: _numpy(kind) for kind in ("float64", "float32", "float16", "int64", "int32", "uint16")},
}

# What takes a timeout of 300 seconds for "key".
SETTERS = {
    "set": lambda cache, timeout: cache.set("key", 1, timeout),
    "set_keyword": lambda cache, timeout: cache.set("key", 1, timeout=timeout),
    "add": lambda cache, timeout: cache.delete("key") and cache.add("key", 1, timeout),
    "touch": lambda cache, timeout: cache.touch("key", timeout),
    "set_many": lambda cache, timeout: cache.set_many({"key": 1}, timeout),
    "get_or_set": lambda cache, timeout: cache.delete("key") and cache.get_or_set("key", 1, timeout),
    "expire": lambda cache, timeout: cache.expire("key", timeout),
    "default": lambda cache, timeout: (setattr(cache, "default_timeout", timeout), cache.set("key", 1)),
    "lock": lambda cache, timeout: cache.delete("key") and cache.lock("key", timeout=timeout).acquire(),
}


class TestRealNumbers:
    """A timeout is whatever Python takes for a real number."""

    @pytest.mark.parametrize("setter", SETTERS.values(), ids=SETTERS)
    @pytest.mark.parametrize("number", REAL.values(), ids=REAL)
    def test_is_accepted(self, make_cache, clock, number, setter):
        cache = make_cache(CLOCK=clock.path)
        cache.set("key", 1, 5)
        setter(cache, number())
        assert cache.pttl("key") == 300_000

    @pytest.mark.parametrize("number", REAL.values(), ids=REAL)
    def test_is_accepted_in_milliseconds(self, make_cache, clock, number):
        cache = make_cache(CLOCK=clock.path)
        cache.set("key", 1, 5)
        assert cache.pexpire("key", number())
        assert cache.pttl("key") == 300

    @pytest.mark.parametrize("setter", SETTERS.values(), ids=SETTERS)
    @pytest.mark.parametrize(
        "bad",
        ["300", b"300", 300j, [300], object(), SimpleLazyObject(lambda: "300")],
        ids=lambda bad: type(bad).__name__,
    )
    def test_other_types_are_refused(self, make_cache, bad, setter):
        cache = make_cache()
        cache.set("key", 1, 5)
        with pytest.raises(TypeError, match="a number of seconds"):
            setter(cache, bad)

    @pytest.mark.parametrize("number", [Decimal("NaN"), float("nan")])
    def test_nan_is_refused(self, cache, number):
        with pytest.raises(ValueError, match="timeout must be a number of seconds or None, not NaN"):
            cache.set("key", 1, number)

    @pytest.mark.parametrize("forever", [10**400, Fraction(10**400), Decimal("1e400"), float("inf")])
    def test_too_large_for_a_float_never_expires_and_below_zero_has_expired(self, cache, forever):
        cache.set("key", 1, forever)
        assert cache.pttl("key") is None
        cache.set("key", 1, -forever)
        assert "key" not in cache

    def test_error_of_the_number_is_raised(self, cache):
        class Broken:
            def __float__(self):
                raise LookupError("no number today")

        with pytest.raises(LookupError, match="no number today"):
            cache.set("key", 1, Broken())


MILLISECOND = 0.001


class TestSystemClock:
    """An entry lives as long as it was output, to the millisecond. (A minute or more: the engine's tests.)"""

    def test_a_few_milliseconds_do_not_expire_at_once(self, cache):
        alive = 0
        for _ in range(50):
            start = time.time()
            cache.set("key", 1, 0.002)
            found = cache.get("key")
            if time.time() < start + 0.002:
                assert found == 1
                alive += 1
        assert alive > 10, "the machine is too slow for this test"

    @pytest.mark.parametrize("seconds", [0.002, 0.02, 0.25, 1.1])
    @pytest.mark.parametrize("setter", ["set", "touch", "expire", "lock"])
    def test_entry_lives_as_long_as_its_timeout(self, cache, seconds, setter):
        assert self.live(cache, seconds, setter) >= seconds - MILLISECOND

    def live(self, cache, seconds, setter):
        """Return for how long an entry was there, at most; fail if that was too long."""
        cache.set("key", 1)
        before = time.time()
        SETTERS[setter](cache, seconds)
        after = looked = time.time()
        while "key" in cache:
            seen, looked = looked, time.time()
            # It was there at some moment after `seen`.
            assert seen <= after + seconds + 2 * MILLISECOND
        return time.time() - before

    @pytest.mark.parametrize("millis", [2, 50, 1000, 59_999, 60_000, 60_001, 300_000])
    def test_time_left_is_never_more_than_was_set(self, cache, millis):
        for _ in range(200):
            cache.set("key", 1, millis / 1000)
            left = cache.pttl("key")
            assert left <= millis
            assert cache.ttl("key") <= (millis + 500) // 1000
