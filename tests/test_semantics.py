"""What each operation does, as LocMemCache does it, and where LocalCache goes its own way.

The known differences, each with a test in `TestDifferences`:

- `delete` of an entry whose time is over: LocMemCache answers True if it is still there, LocalCache False.
- A timeout too large for a float: LocMemCache raises OverflowError, LocalCache keeps the value for good.
- A timeout that is no number: LocMemCache notices when it has stored the value, LocalCache before.
- A timeout that is NaN: LocMemCache takes it and the value never expires, LocalCache refuses it.
- A timeout that is a Decimal: LocMemCache raises TypeError, LocalCache takes it as the number it is.
"""

import decimal
import math
import operator
import random
from fractions import Fraction

import pytest
from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.core.exceptions import ImproperlyConfigured
from hypothesis import example, given, settings
from hypothesis import strategies as st

from conftest import new_location
from manual_clock import START
from nearcache import Stats

DAY = 86_400
HUGE = 10**400


@pytest.fixture
def cache(make_cache, clock):
    """Return a cache whose time stands still."""
    return make_cache(CLOCK=clock.path)


class TestGet:
    def test_gives_none_for_what_is_missing(self, cache):
        assert cache.get("key") is None

    def test_gives_the_default_itself(self, cache):
        default = []
        assert cache.get("key", default) is default

    def test_gives_a_stored_none_and_not_the_default(self, cache):
        cache.set("key", None)
        assert cache.get("key", "default") is None
        assert "key" in cache
        assert cache.get_many(["key"]) == {"key": None}

    @pytest.mark.parametrize("value", [0, "", False, [], (), 0.0])
    def test_gives_a_stored_falsehood_and_not_the_default(self, cache, value):
        cache.set("key", value)
        assert cache.get("key", "default") == value


class TestSet:
    def test_returns_none(self, cache):
        assert cache.set("key", 1) is None

    def test_replaces_value_and_expiry(self, cache, clock):
        cache.set("key", "old", 10)
        cache.set("key", "new", 100)
        clock.advance(50)
        assert cache.get("key") == "new"
        cache.set("key", "newer", 10)
        clock.advance(10)
        assert cache.get("key") is None

    def test_takes_arguments_by_name(self, cache):
        cache.set(key="key", value=1, timeout=None, version=2)
        assert cache.get(key="key", default=None, version=2) == 1


class TestAdd:
    def test_stores_what_is_missing(self, cache):
        assert cache.add("key", 1) is True
        assert cache.get("key") == 1

    def test_keeps_existing_value_and_expiry(self, cache, clock):
        cache.set("key", "old", 10)
        assert cache.add("key", "new", 100) is False
        assert cache.get("key") == "old"
        clock.advance(10)
        assert cache.get("key") is None

    def test_keeps_a_stored_none(self, cache):
        cache.set("key", None)
        assert cache.add("key", 1) is False
        assert cache.get("key", "default") is None

    def test_takes_the_place_of_an_expired_value(self, cache, clock):
        cache.set("key", "old", 10)
        clock.advance(10)
        assert cache.add("key", "new", 10) is True
        clock.advance(9)
        assert cache.get("key") == "new"

    def test_with_no_time_to_live_stores_nothing_but_says_it_did(self, cache, locmem):
        for each in (cache, locmem):
            assert each.add("key", 1, timeout=0) is True
            assert "key" not in each
            assert each.add("key", 2) is True


class TestTouch:
    def test_of_missing_key_is_false(self, cache):
        assert cache.touch("key") is False
        assert "key" not in cache

    def test_sets_a_new_expiry(self, cache, clock):
        cache.set("key", 1, 10)
        clock.advance(9)
        assert cache.touch("key", 10) is True
        clock.advance(9)
        assert cache.get("key") == 1
        clock.advance(1)
        assert cache.get("key") is None

    def test_may_shorten(self, cache, clock):
        cache.set("key", 1, None)
        cache.touch("key", 5)
        clock.advance(5)
        assert "key" not in cache

    def test_without_timeout_gives_the_default(self, cache, clock):
        cache.set("key", 1, 10)
        cache.touch("key")
        clock.advance(299)
        assert "key" in cache
        clock.advance(1)
        assert "key" not in cache

    def test_with_none_is_for_ever(self, cache, clock):
        cache.set("key", 1, 10)
        cache.touch("key", None)
        clock.advance(10_000 * DAY)
        assert cache.get("key") == 1

    @pytest.mark.parametrize("timeout", [0, -1, -HUGE])
    def test_with_no_time_to_live_removes(self, cache, timeout):
        cache.set("key", 1)
        assert cache.touch("key", timeout) is True
        assert cache.get("key") is None

    def test_of_expired_key_is_false(self, cache, clock):
        cache.set("key", 1, 10)
        clock.advance(10)
        assert cache.touch("key", 10) is False
        assert cache.get("key") is None


class TestDelete:
    def test_says_whether_there_was_a_value(self, cache):
        cache.set("key", None)
        assert cache.delete("key") is True
        assert cache.delete("key") is False
        assert "key" not in cache

    def test_leaves_other_keys(self, cache):
        cache.set_many({"a": 1, "b": 2})
        cache.delete("a")
        assert cache.get("b") == 2


class TestIncr:
    @pytest.mark.parametrize(
        ("value", "delta", "total"),
        [
            (1, 1, 2),
            (1, -5, -4),
            (0, 0, 0),
            (2**63 - 1, 1, 2**63),
            (10**40, 10**40, 2 * 10**40),
            (-(2**63), -1, -(2**63) - 1),
            (1, 0.5, 1.5),
            (1.25, 1, 2.25),
            (1.0, -1.0, 0.0),
            (True, 1, 2),
            (decimal.Decimal("1.10"), 1, decimal.Decimal("2.10")),
            (1j, 1, 1 + 1j),
            ("a", "b", "ab"),
            ([1], [2], [1, 2]),
            ((1,), ([2],), (1, [2])),
        ],
    )
    def test_adds_and_stores_the_sum(self, cache, locmem, value, delta, total):
        for each in (cache, locmem):
            each.set("key", value)
            result = each.incr("key", delta)
            assert result == total
            assert type(result) is type(total)
            assert each.get("key") == total
            assert type(each.get("key")) is type(total)

    def test_adds_one_by_default(self, cache):
        cache.set("key", 41)
        assert cache.incr("key") == 42

    def test_decr_subtracts(self, cache):
        cache.set("key", 10)
        assert cache.decr("key") == 9
        assert cache.decr("key", 10) == -1
        assert cache.decr("key", -1) == 0
        assert cache.decr("key", 0.5) == -0.5

    @pytest.mark.parametrize("method", ["incr", "decr"])
    @pytest.mark.parametrize("timeout", [10, 2.5, None, DEFAULT_TIMEOUT])
    def test_keeps_the_expiry(self, make_cache, make_locmem, clock, method, timeout):
        cache = make_cache(CLOCK=clock.path, TIMEOUT=10)
        cache.set("key", 1, timeout)
        life = {2.5: 2.5, None: math.inf}.get(timeout, 10)
        for _ in range(4):
            clock.advance(2)
            assert cache.has_key("key") == (clock.now < START + life)
            if "key" in cache:
                getattr(cache, method)("key")
        clock.advance(DAY)
        assert ("key" in cache) == (timeout is None)

    @pytest.mark.parametrize(("value", "delta"), [("text", 1), (1, "text"), (None, 1), (1, None), ([], 1)])
    def test_of_what_cannot_be_added_raises_and_keeps_the_value(self, cache, locmem, value, delta):
        errors = []
        for each in (cache, locmem):
            each.set("key", value)
            with pytest.raises(TypeError) as raised:
                each.incr("key", delta)
            errors.append(str(raised.value))
            assert each.get("key") == value
        assert errors[0] == errors[1]

    def test_error_of_the_addition_comes_through(self, cache):
        cache.set("key", 1)
        with pytest.raises(ZeroDivisionError):
            cache.incr("key", Unaddable())
        assert cache.get("key") == 1

    @pytest.mark.parametrize("method", ["incr", "decr", "incr_version", "decr_version"])
    @pytest.mark.parametrize("version", [None, 2])
    @pytest.mark.parametrize("key", ["key", "schlüssel", "quote'd", "\ud800", 5], ids=ascii)
    def test_of_missing_key_raises_django_s_error(self, make_cache, make_locmem, method, version, key):
        errors = []
        for cache in (make_cache(KEY_PREFIX="p"), make_locmem(KEY_PREFIX="p")):
            with pytest.raises(ValueError, match="not found") as raised:
                getattr(cache, method)(key, version=version)
            errors.append((type(raised.value), str(raised.value)))
        assert errors[0] == errors[1]

    def test_of_expired_key_raises(self, cache, clock):
        cache.set("key", 1, 10)
        clock.advance(10)
        with pytest.raises(ValueError, match="Key ':1:key' not found"):
            cache.incr("key")
        assert "key" not in cache

    def test_takes_arguments_by_name(self, cache):
        cache.set("key", 1, version=2)
        assert cache.incr(key="key", delta=2, version=2) == 3


class Unaddable:
    def __radd__(self, other):
        return other / 0


class TestIncrVersion:
    def test_moves_the_value(self, cache):
        cache.set("key", 1)
        assert cache.incr_version("key") == 2
        assert cache.get("key") is None
        assert cache.get("key", version=2) == 1
        assert cache.decr_version("key", version=2) == 1
        assert cache.get("key") == 1

    def test_takes_a_delta(self, cache):
        cache.set("key", 1)
        assert cache.incr_version("key", 10) == 11
        assert cache.get("key", version=11) == 1

    def test_moves_a_stored_none(self, cache):
        cache.set("key", None)
        cache.incr_version("key")
        assert cache.get("key", "default", version=2) is None


class TestMany:
    @pytest.mark.parametrize(
        "keys", [["a", "b", "x"], ("a", "b"), {"a", "b"}, "ab", {"a": 0, "b": 0}], ids=repr
    )
    def test_get_many_takes_any_iterable(self, cache, keys):
        cache.set_many({"a": 1, "b": 2})
        assert cache.get_many(keys) == {"a": 1, "b": 2}
        assert cache.get_many(key for key in keys) == {"a": 1, "b": 2}

    def test_get_many_keeps_order_and_key_objects(self, cache):
        cache.set_many({1: "one", "b": 2, None: 3})
        found = cache.get_many([None, "missing", "b", 1, "b"])
        assert list(found.items()) == [(None, 3), ("b", 2), (1, "one")]

    def test_get_many_of_nothing_is_empty(self, cache):
        assert cache.get_many([]) == {}
        assert type(cache.get_many(iter(()))) is dict

    @pytest.mark.parametrize("keys", [None, 5])
    def test_get_many_of_what_is_not_iterable_raises(self, cache, keys):
        for method in (cache.get_many, cache.delete_many):
            with pytest.raises(TypeError, match="not iterable"):
                method(keys)

    def test_get_many_leaves_out_expired_ones(self, cache, clock):
        cache.set("a", 1, 10)
        cache.set("b", 2, 20)
        clock.advance(10)
        assert cache.get_many(["a", "b"]) == {"b": 2}

    def test_error_of_the_iterable_comes_through(self, cache):
        def keys():
            yield "a"
            raise LookupError("no more")

        for method in (cache.get_many, cache.delete_many):
            with pytest.raises(LookupError, match="no more"):
                method(keys())

    def test_set_many_returns_an_empty_list(self, cache):
        assert cache.set_many({"a": 1}) == []
        assert cache.set_many({}) == []

    def test_set_many_takes_timeout_and_version(self, cache, clock):
        cache.set_many({"a": 1, "b": 2}, timeout=10, version=2)
        assert cache.get_many("ab") == {}
        assert cache.get_many("ab", version=2) == {"a": 1, "b": 2}
        clock.advance(10)
        assert cache.get_many("ab", version=2) == {}

    def test_set_many_takes_any_mapping(self, cache):
        class Pairs:
            def items(self):
                return iter([("a", 1), ("b", 2)])

        cache.set_many(Pairs())
        assert cache.get_many("ab") == {"a": 1, "b": 2}

    @pytest.mark.parametrize("keys", [["a", "x"], ("a",), {"a"}, "a", iter(["a"])], ids=repr)
    def test_delete_many_takes_any_iterable(self, cache, keys):
        cache.set_many({"a": 1, "b": 2})
        assert cache.delete_many(keys) is None
        assert cache.get_many("ab") == {"b": 2}

    def test_delete_many_takes_a_version(self, cache):
        cache.set("a", 1)
        cache.set("a", 2, version=2)
        cache.delete_many(["a"], version=2)
        assert cache.get("a") == 1
        assert cache.get("a", version=2) is None


class TestGetOrSet:
    def test_stores_and_gives_the_default(self, cache):
        assert cache.get_or_set("key", 5) == 5
        assert cache.get_or_set("key", 6) == 5

    def test_calls_a_callable_only_when_needed(self, cache):
        calls = []
        for _ in range(3):
            assert cache.get_or_set("key", lambda: calls.append(1) or "made") == "made"
        assert calls == [1]

    def test_stores_none(self, cache):
        assert cache.get_or_set("key", lambda: None) is None
        assert cache.get("key", "default") is None

    def test_takes_timeout_and_version(self, cache, clock):
        cache.get_or_set("key", 1, 10, version=2)
        assert cache.get("key", version=2) == 1
        clock.advance(10)
        assert cache.get("key", version=2) is None

    def test_gives_what_another_stored_meanwhile(self, cache):
        def slow():
            cache.set("key", "other")
            return "mine"

        assert cache.get_or_set("key", slow) == "other"

    def test_gives_the_default_even_if_it_lives_no_time(self, cache):
        assert cache.get_or_set("key", 5, timeout=0) == 5
        assert "key" not in cache

    def test_error_of_the_callable_comes_through(self, cache):
        with pytest.raises(ZeroDivisionError):
            cache.get_or_set("key", lambda: 1 / 0)
        assert "key" not in cache


class TestClear:
    def test_removes_everything_of_every_version(self, cache):
        cache.set_many({"a": 1, "b": [2]})
        cache.set("a", 3, version=2)
        assert cache.clear() is None
        assert cache.get_many("ab") == {}
        assert cache.get("a", version=2) is None
        assert cache.stats().entries == 0
        assert cache.stats().memory == 0


class TestHasKey:
    def test_is_what_in_says(self, cache, clock):
        cache.set("key", None, 10)
        assert cache.has_key("key") is True
        assert "key" in cache
        clock.advance(10)
        assert cache.has_key("key") is False
        assert "key" not in cache

    def test_takes_a_version(self, cache):
        cache.set("key", 1, version=2)
        assert not cache.has_key("key")
        assert cache.has_key("key", version=2)


class TestTimeoutArgument:
    @pytest.mark.parametrize("timeout", [1, 10, 0.5, 1e-3, 10 * DAY, 31 * DAY, True, 10**9, Fraction(3, 2)])
    def test_expires_at_its_end_and_not_before(self, cache, clock, timeout):
        cache.set("key", 1, timeout)
        clock.now = START + float(timeout) * 0.999
        assert "key" in cache
        clock.now = START + float(timeout)
        assert "key" not in cache

    @pytest.mark.parametrize("timeout", [0, 0.0, -0.0, -1, -0.5, -(10**12), -HUGE, -math.inf, False])
    def test_of_nothing_or_less_removes(self, cache, timeout):
        cache.set("key", "old")
        cache.set("key", 1, timeout)
        assert cache.get("key") is None
        assert "key" not in cache

    @pytest.mark.parametrize("timeout", [None, 10**12, 1e300, math.inf])
    def test_of_ages_lives_on(self, cache, clock, timeout):
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
    @pytest.mark.parametrize(
        ("setting", "life"),
        [(5, 5), ("60", 60), (2.9, 2), (True, 1), (0, 0), (-5, 0), (0.5, 0), (None, None), (10**12, None)],
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

    def test_too_large_for_a_float_is_for_ever(self, make_cache, clock):
        cache = make_cache(TIMEOUT=HUGE, CLOCK=clock.path)
        cache.set("key", 1)
        clock.advance(10_000 * DAY)
        assert cache.get("key") == 1


class TestClock:
    def test_may_tell_whole_seconds(self, cache, clock):
        clock.now = int(START)
        cache.set("key", 1, 10)
        clock.now += 10
        assert "key" not in cache

    @pytest.mark.parametrize(
        ("told", "error"), [("noon", TypeError), (None, TypeError), (math.nan, ValueError)], ids=repr
    )
    def test_that_tells_no_time_is_an_error_and_changes_nothing(self, cache, clock, told, error):
        cache.set("key", "old", 10)
        clock.now = told
        for use in (lambda: cache.get("key"), lambda: cache.set("key", "new"), lambda: cache.delete("key")):
            with pytest.raises(error, match="CLOCK"):
                use()
        clock.now = START
        assert cache.get("key") == "old"

    def test_error_of_the_clock_comes_through(self, cache, monkeypatch):
        monkeypatch.setattr("manual_clock.read", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            cache.get("key")

    def test_set_back_leaves_an_entry_alive_until_its_time(self, cache, clock):
        cache.set("key", 1, 10)
        clock.advance(-1000)
        assert cache.get("key") == 1
        clock.advance(1009)
        assert cache.get("key") == 1
        clock.advance(1)
        assert cache.get("key") is None


class TestTooLargeValue:
    """Django knows of no such thing: `set` says nothing, but the old value must not stay as if new."""

    @pytest.fixture
    def cache(self, make_cache):
        return make_cache(MAX_MEMORY=10_000)

    LARGE = pytest.mark.parametrize(
        "large",
        [b"x" * 10_000, "x" * 10_000, list(range(2000)), bytearray(10_000)],
        ids=["bytes", "str", "list", "pickle"],
    )

    @LARGE
    def test_is_not_stored_but_counted_and_the_old_value_is_gone(self, cache, large):
        cache.set("key", "old")
        assert cache.set("key", large) is None
        assert cache.get("key") is None
        assert cache.stats().rejections == 1
        assert cache.stats().sets == 1

    @LARGE
    def test_leaves_other_entries(self, cache, large):
        cache.set("other", "value")
        cache.set("key", large)
        assert cache.get("other") == "value"
        assert cache.stats().evictions == 0

    @LARGE
    def test_is_named_by_set_many(self, cache, large):
        assert cache.set_many({"a": 1, 5: large, "b": 2, "c": large}) == [5, "c"]
        assert cache.get_many(["a", 5, "b", "c"]) == {"a": 1, "b": 2}
        assert cache.stats().rejections == 2

    @LARGE
    def test_is_not_added(self, cache, large):
        assert cache.add("key", large) is False
        assert "key" not in cache
        assert cache.stats().rejections == 1

    def test_is_not_added_to_an_existing_value_which_stays(self, cache):
        cache.set("key", "old")
        assert cache.add("key", b"x" * 10_000) is False
        assert cache.get("key") == "old"

    def test_is_given_by_get_or_set(self, cache):
        assert cache.get_or_set("key", b"x" * 10_000) == b"x" * 10_000
        assert "key" not in cache

    def test_as_a_sum_is_returned_and_the_old_value_is_gone(self, cache):
        cache.set("key", "a")
        assert cache.incr("key", "b" * 10_000) == "a" + "b" * 10_000
        assert cache.get("key") is None
        assert cache.stats().rejections == 1

    def test_with_a_large_key_is_rejected_too(self, cache):
        cache.validate_key = lambda key: None
        assert cache.set_many({"k" * 10_000: 1}) == ["k" * 10_000]


class TestStats:
    def test_of_a_new_store_are_zero(self, cache):
        stats = cache.stats()
        assert type(stats) is Stats
        assert set(counts(cache).values()) == {0}
        assert stats.memory == 0
        assert stats.hit_ratio is None

    COUNTED = {  # noqa: RUF012
        "get of what is there": (lambda cache: cache.get("there"), {"hits": 1}),
        "get of None": (lambda cache: cache.get("none"), {"hits": 1}),
        "get of what is missing": (lambda cache: cache.get("missing"), {"misses": 1}),
        "get_many": (lambda cache: cache.get_many(["there", "none", "x", "there"]), {"hits": 3, "misses": 1}),
        "has_key": (lambda cache: cache.has_key("there"), {}),
        "has_key of what is missing": (lambda cache: cache.has_key("missing"), {}),
        "in": (lambda cache: "there" in cache, {}),
        "touch": (lambda cache: cache.touch("there"), {}),
        "touch of what is missing": (lambda cache: cache.touch("missing"), {}),
        "touch that removes": (lambda cache: cache.touch("there", 0), {"expirations": 1, "entries": -1}),
        "incr": (lambda cache: cache.incr("there"), {"sets": 1}),
        "decr": (lambda cache: cache.decr("there"), {"sets": 1}),
        "incr_version": (lambda cache: cache.incr_version("there"), {"hits": 1, "sets": 1, "deletes": 1}),
        "set of what is missing": (lambda cache: cache.set("new", 1), {"sets": 1, "entries": 1}),
        "set of what is there": (lambda cache: cache.set("there", 2), {"sets": 1}),
        "add of what is missing": (lambda cache: cache.add("new", 1), {"sets": 1, "entries": 1}),
        "add of what is there": (lambda cache: cache.add("there", 2), {}),
        "set_many": (lambda cache: cache.set_many({"new": 1, "there": 2}), {"sets": 2, "entries": 1}),
        "get_or_set of what is there": (lambda cache: cache.get_or_set("there", 2), {"hits": 1}),
        "get_or_set of what is missing": (
            lambda cache: cache.get_or_set("new", 1),
            {"misses": 1, "sets": 1, "hits": 1, "entries": 1},
        ),
        "delete": (lambda cache: cache.delete("there"), {"deletes": 1, "entries": -1}),
        "delete of what is missing": (lambda cache: cache.delete("missing"), {}),
        "delete_many": (lambda cache: cache.delete_many(["there", "missing"]), {"deletes": 1, "entries": -1}),
        "clear": (lambda cache: cache.clear(), {"deletes": 2, "entries": -2}),
    }

    @pytest.mark.parametrize(("use", "counted"), COUNTED.values(), ids=COUNTED)
    def test_count_each_operation(self, cache, use, counted):
        cache.set_many({"there": 1, "none": None})
        before = counts(cache)
        use(cache)
        after = counts(cache)
        assert {name: after[name] - before[name] for name in after if after[name] != before[name]} == counted

    def test_count_a_read_of_what_has_expired_as_a_miss(self, cache, clock):
        cache.set("key", 1, 10)
        clock.advance(10)
        cache.get("key")
        stats = cache.stats()
        assert (stats.hits, stats.misses, stats.expirations, stats.entries) == (0, 1, 1, 0)

    def test_count_expirations(self, cache, clock):
        cache.set_many({"a": 1, "b": 2}, 10)
        clock.advance(10)
        cache.get_many("ab")
        cache.set("c", 3)
        assert cache.stats().expirations == 2
        assert cache.stats().evictions == 0
        assert cache.stats().entries == 1

    def test_count_evictions(self, make_cache):
        cache = make_cache(MAX_ENTRIES=10)
        cache.set_many(dict.fromkeys(range(25)))
        assert cache.stats().evictions == 15
        assert cache.stats().entries == 10

    def test_tell_memory(self, cache):
        cache.set("key", b"x" * 100_000)
        assert 100_000 < cache.stats().memory < 101_000
        cache.set("key", b"")
        assert 0 < cache.stats().memory < 1000
        cache.delete("key")
        assert cache.stats().memory == 0

    @pytest.mark.parametrize(
        "value",
        [
            "x" * 100_000,
            "é" * 100_000,
            b"x" * 100_000,
            bytearray(100_000),
            10**300_000,
            ["x" * 50_000] * 2 + ["y" * 100_000],
        ],
        ids=["ASCII", "Latin-1", "bytes", "bytearray", "int", "list"],
    )
    def test_tell_no_less_memory_than_a_value_takes(self, cache, value):
        cache.set("key", value)
        assert 100_000 <= cache.stats().memory <= 500_000

    def test_tell_the_hit_ratio(self, cache):
        cache.set("key", 1)
        cache.get_many(["key", "key", "key", "missing"])
        assert cache.stats().hit_ratio == 0.75

    def test_are_equal_if_all_counts_are(self, cache):
        assert cache.stats() == cache.stats()
        before = cache.stats()
        cache.get("key")
        assert cache.stats() != before

    def test_do_not_change_afterwards(self, cache):
        stats = cache.stats()
        cache.get("key")
        assert stats.misses == 0
        with pytest.raises(AttributeError):
            stats.misses = 5

    def test_say_all_in_their_repr(self, cache):
        cache.set("key", 1)
        cache.get_many(["key", "missing", "none"])
        memory = cache.stats().memory
        assert repr(cache.stats()) == (
            "Stats(hits=1, misses=2, hit_ratio=0.3333, sets=1, deletes=0, evictions=0, expirations=0, "
            f"rejections=0, entries=1, memory={memory})"
        )

    def test_repr_before_the_first_read_has_no_ratio(self, cache):
        assert "hit_ratio=None" in repr(cache.stats())


def counts(cache):
    """Return the counts that say what was done, without those that follow from them."""
    stats = cache.stats()
    names = ("hits", "misses", "sets", "deletes", "evictions", "expirations", "rejections", "entries")
    return {name: getattr(stats, name) for name in names}


class TestLocation:
    def test_same_name_is_the_same_store(self, make_cache):
        location = new_location()
        one, two = make_cache(LOCATION=location), make_cache(LOCATION=location)
        one.set("key", [1])
        assert two.get("key") == [1]
        assert two.stats() == one.stats()
        two.clear()
        assert "key" not in one

    def test_other_name_is_another_store(self, make_cache):
        one, two = make_cache(), make_cache()
        one.set("key", 1)
        assert two.get("key") is None
        two.clear()
        assert one.get("key") == 1

    @pytest.mark.parametrize(
        "location", ["", "ünï", "a b", "/not/a/path", "x" * 10_000], ids=lambda name: name[:9]
    )
    def test_may_be_any_text(self, make_cache, location):
        one = make_cache(LOCATION=location)
        one.set("key", 1)
        assert make_cache(LOCATION=location).get("key") == 1

    def test_outlives_its_handles(self, make_cache):
        location = new_location()
        make_cache(LOCATION=location).set("key", 1)
        assert make_cache(LOCATION=location).get("key") == 1

    def test_is_not_locmem_s(self, make_cache, make_locmem):
        location = new_location()
        make_locmem(LOCATION=location).set("key", 1)
        assert make_cache(LOCATION=location).get("key") is None

    @pytest.mark.parametrize(("first", "second"), [("lru", "s3-fifo"), ("s3-fifo", "lru")])
    def test_with_another_eviction_is_refused(self, make_cache, first, second):
        location = new_location()
        cache = make_cache(LOCATION=location, EVICTION=first)
        with pytest.raises(ImproperlyConfigured) as raised:
            make_cache(LOCATION=location, EVICTION=second)
        assert location in str(raised.value)
        assert first in str(raised.value)
        cache.set("key", 1)
        assert make_cache(LOCATION=location, EVICTION=first).get("key") == 1

    def test_may_have_handles_of_different_timeouts_and_clocks(self, make_cache, clock):
        location = new_location()
        short = make_cache(LOCATION=location, CLOCK=clock.path, TIMEOUT=10)
        long = make_cache(LOCATION=location, CLOCK=clock.path, TIMEOUT=100)
        short.set("short", 1)
        long.set("long", 1)
        clock.advance(10)
        assert short.get_many(["short", "long"]) == long.get_many(["short", "long"]) == {"long": 1}


class Meddling:
    """Uses the cache while it is pickled, unpickled, and added to."""

    cache = None

    def __init__(self, depth=1):
        self.depth = depth

    def meddle(self):
        count = self.cache.get("meddled", 0)
        self.cache.set("meddled", count + 1)
        self.cache.add("added", 1)
        self.cache.get_many(["meddled", "key"] if self.depth == 0 else ["meddled"])
        self.cache.delete("nothing")

    def __getstate__(self):
        self.meddle()
        return {"depth": self.depth}

    def __setstate__(self, state):
        self.depth = state["depth"]
        self.meddle()

    def __add__(self, other):
        self.meddle()
        return Meddling(self.depth + other)


class TestValueThatUsesTheCache:
    """No lock is held while code of others runs."""

    @pytest.fixture
    def cache(self, cache):
        Meddling.cache = cache
        yield cache
        Meddling.cache = None

    @pytest.mark.parametrize(
        "use",
        [
            lambda cache: cache.set("key", Meddling()),
            lambda cache: cache.add("key", [Meddling()]),
            lambda cache: cache.set_many({"key": {"a": Meddling()}}),
            lambda cache: cache.get_or_set("key", Meddling),
        ],
        ids=["set", "add", "set_many", "get_or_set"],
    )
    def test_while_it_is_pickled(self, cache, use):
        use(cache)
        assert cache.get("meddled") > 0
        assert cache.has_key("key")

    @pytest.mark.parametrize(
        "use",
        [
            lambda cache: cache.get("key"),
            lambda cache: cache.get_many(["key"])["key"],
            lambda cache: cache.incr("key", 2),
            lambda cache: cache.incr_version("key"),
        ],
        ids=["get", "get_many", "incr", "incr_version"],
    )
    def test_while_it_is_unpickled(self, cache, use):
        cache.set("key", Meddling())
        before = cache.get("meddled")
        assert use(cache)
        assert cache.get("meddled") > before

    def test_sum_of_such_values_is_right(self, cache):
        cache.set("key", Meddling(1))
        assert cache.incr("key", 2).depth == 3
        assert cache.get("key").depth == 3

    def test_while_it_overwrites_itself(self, cache):
        class Overwriting:
            def __reduce__(self):
                cache.set("key", "inner")
                return operator.add, ("out", "er")

        cache.set("key", Overwriting())
        assert cache.get("key") == "outer"

    def test_while_the_cache_is_cleared(self, cache):
        class Clearing:
            def __reduce__(self):
                cache.clear()
                return operator.add, ("cl", "ear")

        cache.set("other", 1)
        cache.set("key", Clearing())
        assert cache.get_many(["key", "other"]) == {"key": "clear"}

    def test_sum_over_a_value_changed_meanwhile_is_of_the_new_one(self, cache):
        class Late:
            """Changes the value in the middle of the first addition."""

            calls = 0

            def __radd__(self, old):
                self.calls += 1
                if self.calls == 1:
                    cache.set("key", 100)
                return old + 1

        late = Late()
        cache.set("key", 1)
        assert cache.incr("key", late) == 101
        assert cache.get("key") == 101
        assert late.calls == 2

    def test_sum_over_a_value_deleted_meanwhile_is_of_nothing(self, cache):
        class Deleting:
            def __radd__(self, old):
                cache.delete("key")
                return old + 1

        cache.set("key", 1)
        with pytest.raises(ValueError, match="Key ':1:key' not found"):
            cache.incr("key", Deleting())
        assert "key" not in cache


class TestDifferences:
    """What both do where they differ, so that no difference is listed in vain."""

    def test_delete_of_an_expired_entry(self, cache, locmem, clock):
        for each, answer in ((cache, False), (locmem, True)):
            each.set("key", 1, 10)
            clock.advance(10)
            assert each.delete("key") is answer

    def test_delete_of_an_entry_set_with_no_time_to_live(self, cache, locmem):
        for each, answer in ((cache, False), (locmem, True)):
            each.set("key", 1, 0)
            assert each.delete("key") is answer

    def test_timeout_too_large_for_a_float(self, cache, locmem):
        cache.set("key", 1, HUGE)
        assert cache.get("key") == 1
        with pytest.raises(OverflowError):
            locmem.set("key", 1, HUGE)

    def test_timeout_that_is_no_number(self, cache, locmem):
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

    @pytest.mark.parametrize("eviction", ["s3-fifo", "lru"])
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
