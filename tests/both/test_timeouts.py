"""Timeouts as arguments and as settings, and the clock they refer to."""

import math
from fractions import Fraction

import pytest
from django.core.cache.backends.base import DEFAULT_TIMEOUT

from support.manual_clock import START

DAY = 86_400
HUGE = 10**400


@pytest.fixture
def cache(make_cache, clock):
    """Return a cache whose time stands still."""
    return make_cache(CLOCK=clock.path)


class TestTimeoutArgument:
    @pytest.mark.parametrize("timeout", [1, 10, 0.5, 1e-3, 10 * DAY, 31 * DAY, True, 10**9, Fraction(3, 2)])
    def test_expires_at_its_end_and_not_before(self, cache, clock, timeout):
        cache.set("key", 1, timeout)
        clock.now = START + float(timeout) * 0.999
        assert "key" in cache
        clock.now = START + float(timeout)
        assert "key" not in cache

    @pytest.mark.parametrize("timeout", [0, 0.0, -0.0, -1, -0.5, -(10**12), -HUGE, -math.inf, False])
    def test_of_zero_or_less_removes(self, cache, timeout):
        cache.set("key", "old")
        cache.set("key", 1, timeout)
        assert cache.get("key") is None
        assert "key" not in cache

    @pytest.mark.parametrize("timeout", [None, 10**12, 1e300, math.inf])
    def test_very_long_timeout_does_not_expire(self, cache, clock, timeout):
        cache.set("key", 1, timeout)
        clock.advance(100_000 * DAY)
        assert cache.get("key") == 1

    def test_django_s_marker_is_the_default(self, cache, clock):
        cache.set("key", 1, DEFAULT_TIMEOUT)
        cache.set_many({"many": 1}, timeout=DEFAULT_TIMEOUT)
        cache.add("added", 1, DEFAULT_TIMEOUT)
        clock.advance(299)
        assert len(cache.get_many(["key", "many", "added"])) == 3
        clock.advance(1)
        assert cache.get_many(["key", "many", "added"]) == {}

    @pytest.mark.parametrize(
        "timeout", ["5", b"5", object(), [], {}, 1j], ids=lambda value: type(value).__name__
    )
    @pytest.mark.parametrize(
        "use",
        [
            lambda cache, timeout: cache.set("key", "new", timeout),
            lambda cache, timeout: cache.add("missing", "new", timeout),
            lambda cache, timeout: cache.touch("key", timeout),
            lambda cache, timeout: cache.set_many({"key": "new"}, timeout),
            lambda cache, timeout: cache.get_or_set("missing", "new", timeout),
        ],
        ids=["set", "add", "touch", "set_many", "get_or_set"],
    )
    def test_of_wrong_type_raises_and_changes_nothing(self, cache, timeout, use):
        cache.set("key", "old")
        with pytest.raises(TypeError, match="timeout must be a number of seconds or None") as raised:
            use(cache, timeout)
        assert repr(timeout) in str(raised.value)
        assert cache.get("key") == "old"
        assert "missing" not in cache

    def test_of_nan_raises_and_changes_nothing(self, cache):
        cache.set("key", "old")
        for use in (cache.set, cache.add):
            with pytest.raises(ValueError, match="not NaN"):
                use("key", "new", math.nan)
        with pytest.raises(ValueError, match="not NaN"):
            cache.touch("key", math.nan)
        assert cache.get("key") == "old"


class TestTimeoutSetting:
    @pytest.mark.local_only("what is found dead stays until its room is wanted")
    @pytest.mark.parametrize(
        ("setting", "life"),
        [(5, 5), ("60", 60), (2.0, 2), (0, 0), (-5, 0), (0.0, 0), (None, None), (10**12, None)],
    )
    def test_is_read_as_django_reads_it(self, make_cache, make_locmem, clock, setting, life):
        cache, locmem = make_cache(TIMEOUT=setting, CLOCK=clock.path), make_locmem(TIMEOUT=setting)
        assert cache.default_timeout == locmem.default_timeout
        for each in (cache, locmem):
            each.set("key", 1)
            assert ("key" in each) == (life is None or life > 0)
        if life is None:
            clock.advance(10_000 * DAY)
            assert "key" in cache
            assert "key" in locmem
        else:
            clock.now = START + life - 1e-3
            assert ("key" in cache) == ("key" in locmem) == (life > 0)
            clock.now = START + life
            assert "key" not in cache
            assert "key" not in locmem

    def test_is_300_seconds_if_not_given(self, cache, clock):
        cache.set("key", 1)
        clock.advance(299.999)
        assert "key" in cache
        clock.advance(0.001)
        assert "key" not in cache

    def test_assigned_live_takes_effect(self, cache, clock):
        cache.default_timeout = 5
        cache.set("key", 1)
        cache.default_timeout = None
        cache.set("for-ever", 1)
        clock.advance(5)
        assert "key" not in cache
        clock.advance(10_000 * DAY)
        assert "for-ever" in cache

    def test_too_large_for_a_float_never_expires(self, make_cache, clock):
        cache = make_cache(TIMEOUT=HUGE, CLOCK=clock.path)
        cache.set("key", 1)
        clock.advance(10_000 * DAY)
        assert cache.get("key") == 1


class TestClock:
    def test_may_return_whole_seconds(self, cache, clock):
        clock.now = int(START)
        cache.set("key", 1, 10)
        clock.now += 10
        assert "key" not in cache

    @pytest.mark.parametrize(
        ("output", "error"), [("noon", TypeError), (None, TypeError), (math.nan, ValueError)], ids=repr
    )
    def test_that_returns_no_number_is_an_error_and_changes_nothing(self, cache, clock, output, error):
        cache.set("key", "old", 10)
        clock.now = output
        for use in (lambda: cache.get("key"), lambda: cache.set("key", "new"), lambda: cache.delete("key")):
            with pytest.raises(error, match="CLOCK"):
                use()
        clock.now = START
        assert cache.get("key") == "old"

    def test_error_of_the_clock_is_raised(self, cache, monkeypatch):
        monkeypatch.setattr("support.manual_clock.read", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            cache.get("key")

    @pytest.mark.local_only("a clock set back prolongs no life")
    def test_set_back_leaves_an_entry_alive_until_its_time(self, cache, clock):
        cache.set("key", 1, 10)
        clock.advance(-1000)
        assert cache.get("key") == 1
        clock.advance(1009)
        assert cache.get("key") == 1
        clock.advance(1)
        assert cache.get("key") is None
