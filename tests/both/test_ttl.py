"""ttl(), expire(), expire_at(), persist() and their millisecond variants."""

import datetime as dt
import math
from decimal import Decimal
from fractions import Fraction

import pytest
from django.core.cache.backends.base import DEFAULT_TIMEOUT

from support.manual_clock import START

DAY = 86_400
HUGE = 10**400
UTC = dt.timezone.utc


@pytest.fixture
def cache(make_cache, clock):
    """Return a cache whose time stands still."""
    return make_cache(CLOCK=clock.path)


def lives_until(cache, clock, end):
    """Tell whether an entry "key" is there just before a time and is gone at it."""
    clock.now = end - 0.001
    before = "key" in cache
    clock.now = end
    return before and "key" not in cache


class TestTtl:
    def test_is_none_for_an_entry_without_expiry(self, cache):
        cache.set("key", 1, None)
        assert cache.ttl("key") is None
        assert cache.pttl("key") is None

    def test_is_0_for_a_missing_key(self, cache):
        assert cache.ttl("key") == 0
        assert cache.pttl("key") == 0

    def test_is_0_for_an_expired_entry(self, cache, clock):
        cache.set("key", 1, 5)
        clock.advance(5)
        assert cache.ttl("key") == 0
        assert cache.pttl("key") == 0

    def test_counts_down(self, cache, clock):
        cache.set("key", 1, 5)
        seen = [(cache.ttl("key"), cache.pttl("key"))]
        clock.advance(1)
        seen.append((cache.ttl("key"), cache.pttl("key")))
        assert seen == [(5, 5000), (4, 4000)]
        assert {type(number) for pair in seen for number in pair} == {int}

    @pytest.mark.parametrize(
        ("left", "seconds"), [(0.499, 0), (0.5, 1), (1.499, 1), (1.5, 2), (2.5, 3), (10.001, 10)]
    )
    def test_is_rounded_to_the_nearest_second_as_redis_does(self, cache, left, seconds):
        cache.set("key", 1, left)
        assert cache.ttl("key") == seconds
        assert cache.pttl("key") == round(left * 1000)

    @pytest.mark.local_only("a SharedCache keeps whole milliseconds, rounded down")
    def test_of_less_than_a_millisecond_is_one(self, cache):
        cache.set("key", 1, 0.0001)
        assert cache.pttl("key") == 1

    def test_is_the_default_timeout(self, make_cache, clock):
        cache = make_cache(CLOCK=clock.path, TIMEOUT=77)
        cache.set("key", 1)
        assert cache.ttl("key") == 77

    def test_is_of_the_version(self, cache):
        cache.set("key", 1, 5, version=2)
        assert (cache.ttl("key"), cache.ttl("key", 2), cache.ttl("key", version=2)) == (0, 5, 5)
        assert (cache.pttl("key"), cache.pttl("key", 2)) == (0, 5000)

    def test_is_not_counted_as_a_read(self, cache):
        cache.set("key", 1)
        cache.ttl("key")
        cache.pttl("missing")
        assert (cache.stats().hits, cache.stats().misses) == (0, 0)

    def test_is_the_timeout_of_touch(self, cache):
        cache.set("key", 1, 5)
        cache.touch("key", 50)
        assert cache.ttl("key") == 50
        cache.touch("key", None)
        assert cache.ttl("key") is None

    def test_stays_after_incr(self, cache, clock):
        cache.set("key", 1, 5)
        clock.advance(2)
        cache.incr("key")
        assert cache.ttl("key") == 3

    @pytest.mark.local_only("a file has times to the year 10889")
    def test_of_a_very_long_timeout_is_a_number(self, cache):
        cache.set("key", 1, 10**12)
        assert cache.ttl("key") == 10**12


RELATIVE = [("expire", 1), ("pexpire", 1000)]
relative = pytest.mark.parametrize(("method", "per_second"), RELATIVE, ids=["expire", "pexpire"])


@relative
class TestExpire:
    @pytest.mark.parametrize("seconds", [1, 10, 0.5, DAY, Fraction(3, 2), Decimal("2.5"), True])
    def test_sets_the_time_to_live(self, cache, clock, method, per_second, seconds):
        cache.set("key", 1, None)
        assert getattr(cache, method)("key", seconds * per_second) is True
        assert lives_until(cache, clock, START + float(seconds))

    def test_shortens_as_well(self, cache, clock, method, per_second):
        cache.set("key", 1, 100)
        getattr(cache, method)("key", 2 * per_second)
        assert lives_until(cache, clock, START + 2)

    def test_takes_a_timedelta(self, cache, clock, method, per_second):
        cache.set("key", 1)
        assert getattr(cache, method)("key", dt.timedelta(minutes=2, milliseconds=500))
        assert cache.pttl("key") == 120_500

    @pytest.mark.parametrize("nothing", [0, -1, -0.5, -HUGE, -math.inf, False, dt.timedelta(days=-1)])
    def test_of_zero_or_less_removes(self, cache, method, per_second, nothing):
        cache.set("key", 1)
        assert getattr(cache, method)("key", nothing) is True
        assert "key" not in cache

    @pytest.mark.parametrize("ages", [1e300, HUGE, math.inf, dt.timedelta.max])
    def test_of_a_very_long_time_is_no_expiry_or_a_distant_one(self, cache, clock, method, per_second, ages):
        cache.set("key", 1)
        assert getattr(cache, method)("key", ages) is True
        clock.advance(100_000 * DAY)
        assert cache.get("key") == 1

    def test_of_django_s_marker_is_the_default(self, cache, method, per_second):
        cache.set("key", 1, 5)
        assert getattr(cache, method)("key", DEFAULT_TIMEOUT) is True
        assert cache.ttl("key") == 300

    def test_of_a_missing_key_is_false(self, cache, method, per_second):
        assert getattr(cache, method)("key", 5 * per_second) is False
        assert "key" not in cache

    def test_is_of_the_version(self, cache, method, per_second):
        cache.set("key", 1, 5)
        assert getattr(cache, method)("key", per_second, version=2) is False
        assert getattr(cache, method)("key", 0, 2) is False
        assert cache.ttl("key") == 5

    @pytest.mark.parametrize(
        "bad",
        [None, "5", b"5", object(), [], 1j, dt.time(1), dt.date(2030, 1, 1), dt.datetime(2030, 1, 1)],
        ids=lambda value: type(value).__name__,
    )
    def test_refuses_other_types_than_durations(self, cache, method, per_second, bad):
        cache.set("key", 1, 5)
        unit = "seconds" if per_second == 1 else "milliseconds"
        with pytest.raises(TypeError, match=rf"timeout must be a number of {unit} or a timedelta .*, not "):
            getattr(cache, method)("key", bad)
        assert cache.ttl("key") == 5

    def test_refuses_nan(self, cache, method, per_second):
        cache.set("key", 1)
        with pytest.raises(ValueError, match=r"timeout must be .*, not NaN"):
            getattr(cache, method)("key", math.nan)
        assert "key" in cache

    def test_needs_a_timeout(self, cache, method, per_second):
        with pytest.raises(TypeError, match="timeout"):
            getattr(cache, method)("key")


ABSOLUTE = [("expire_at", 1), ("pexpire_at", 1000)]
absolute = pytest.mark.parametrize(("method", "per_second"), ABSOLUTE, ids=["expire_at", "pexpire_at"])


@absolute
class TestExpireAt:
    @pytest.mark.parametrize("seconds", [1, 1.5, DAY, Fraction(3, 2)])
    def test_takes_a_unix_time(self, cache, clock, method, per_second, seconds):
        cache.set("key", 1, None)
        assert getattr(cache, method)("key", (int(START) + seconds) * per_second) is True
        assert lives_until(cache, clock, START + float(seconds))

    @pytest.mark.parametrize("hours", [0, 9, -7])
    def test_takes_an_aware_datetime(self, cache, clock, method, per_second, hours):
        cache.set("key", 1)
        zone = dt.timezone(dt.timedelta(hours=hours))
        assert getattr(cache, method)("key", dt.datetime.fromtimestamp(START + 60, zone)) is True
        assert lives_until(cache, clock, START + 60)

    def test_takes_a_naive_datetime_as_local_time(self, cache, clock, method, per_second):
        cache.set("key", 1)
        local = dt.datetime.fromtimestamp(START + 60)
        assert getattr(cache, method)("key", local) is True
        assert lives_until(cache, clock, START + 60)

    @pytest.mark.parametrize(
        "past",
        [0, -1, -HUGE, -math.inf, dt.datetime(1969, 1, 1, tzinfo=UTC), dt.datetime(2001, 1, 1, tzinfo=UTC)],
    )
    def test_of_the_past_removes(self, cache, method, per_second, past):
        cache.set("key", 1)
        assert getattr(cache, method)("key", past) is True
        assert "key" not in cache

    def test_of_this_moment_removes(self, cache, method, per_second):
        cache.set("key", 1)
        assert getattr(cache, method)("key", int(START) * per_second) is True
        assert "key" not in cache

    @pytest.mark.parametrize("far", [1e300, HUGE, math.inf, dt.datetime.max.replace(tzinfo=UTC)])
    def test_of_the_far_future_keeps(self, cache, clock, method, per_second, far):
        cache.set("key", 1)
        assert getattr(cache, method)("key", far) is True
        clock.advance(100_000 * DAY)
        assert cache.get("key") == 1

    def test_of_a_missing_key_is_false(self, cache, method, per_second):
        assert getattr(cache, method)("key", 1e12) is False

    def test_is_of_the_version(self, cache, method, per_second):
        cache.set("key", 1)
        assert getattr(cache, method)("key", 0, version=2) is False
        assert getattr(cache, method)("key", 0, 2) is False
        assert "key" in cache

    @pytest.mark.parametrize(
        "bad",
        [None, "5", b"5", object(), [], 1j, DEFAULT_TIMEOUT, dt.timedelta(1), dt.date(2030, 1, 1)],
        ids=lambda value: type(value).__name__,
    )
    def test_refuses_other_types_than_times(self, cache, method, per_second, bad):
        cache.set("key", 1, 5)
        unit = "seconds" if per_second == 1 else "milliseconds"
        with pytest.raises(TypeError, match=rf"when must be a number of Unix {unit} or a datetime, not "):
            getattr(cache, method)("key", bad)
        assert cache.ttl("key") == 5

    def test_refuses_nan(self, cache, method, per_second):
        with pytest.raises(ValueError, match=r"when must be .*, not NaN"):
            getattr(cache, method)("key", math.nan)

    def test_error_names_a_datetime_without_unix_time(self, cache, method, per_second):
        class Impossible(dt.datetime):
            def timestamp(self):
                raise OverflowError("year is out of range")

        cache.set("key", 1, 5)
        with pytest.raises(ValueError, match=r"Impossible.*no Unix time: year is out of range") as caught:
            getattr(cache, method)("key", Impossible(1, 1, 1))
        assert isinstance(caught.value.__cause__, OverflowError)
        assert cache.ttl("key") == 5


class TestPersist:
    def test_removes_the_expiry(self, cache, clock):
        cache.set("key", 1, 5)
        assert cache.persist("key") is True
        assert cache.ttl("key") is None
        clock.advance(100 * DAY)
        assert cache.get("key") == 1

    def test_of_an_entry_without_expiry_is_false(self, cache):
        cache.set("key", 1, None)
        assert cache.persist("key") is False

    def test_of_a_missing_or_expired_key_is_false(self, cache, clock):
        cache.set("key", 1, 5)
        clock.advance(5)
        assert cache.persist("key") is False
        assert cache.persist("missing") is False

    def test_is_of_the_version(self, cache):
        cache.set("key", 1, 5)
        assert cache.persist("key", 2) is False
        assert cache.persist("key", version=1) is True


METHODS = [
    ("ttl",),
    ("pttl",),
    ("expire", 5),
    ("pexpire", 5),
    ("expire_at", 1e10),
    ("pexpire_at", 1e13),
    ("persist",),
]


@pytest.mark.parametrize("call", METHODS, ids=lambda call: call[0])
class TestEvery:
    def test_warns_of_a_bad_key_as_get_does(self, cache, call):
        name, *arguments = call
        with pytest.warns(Warning, match="memcached"):
            getattr(cache, name)("bad key", *arguments)

    def test_uses_the_key_function(self, make_cache, clock, call):
        cache = make_cache(CLOCK=clock.path, KEY_FUNCTION=lambda key, prefix, version: f"{key}!")
        cache.set("key", 1, 50)
        name, *arguments = call
        assert getattr(cache, name)("key", *arguments)

    def test_error_of_the_clock_is_raised(self, make_cache, monkeypatch, clock, call):
        cache = make_cache(CLOCK=clock.path)
        cache.set("key", 1)
        clock.now = "noon"
        name, *arguments = call
        with pytest.raises(TypeError, match=r"CLOCK.*'noon'"):
            getattr(cache, name)("key", *arguments)
