"""Every operation does what it does in LocMemCache."""

import asyncio
import decimal
import math
import threading

import pytest
from django.core.cache.backends.base import DEFAULT_TIMEOUT

from support.manual_clock import START

DAY = 86_400
HUGE = 10**400


@pytest.fixture
def cache(make_cache, clock):
    """Return a cache whose time stands still."""
    return make_cache(CLOCK=clock.path)


class TestGet:
    def test_returns_none_for_a_missing_key(self, cache):
        assert cache.get("key") is None

    def test_returns_the_default_itself(self, cache):
        default = []
        assert cache.get("key", default) is default

    def test_returns_a_stored_none_and_not_the_default(self, cache):
        cache.set("key", None)
        assert cache.get("key", "default") is None
        assert "key" in cache
        assert cache.get_many(["key"]) == {"key": None}

    @pytest.mark.parametrize("value", [0, "", False, [], (), 0.0])
    def test_returns_a_stored_false_value_and_not_the_default(self, cache, value):
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
    def test_stores_under_a_missing_key(self, cache):
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

    def test_replaces_an_expired_value(self, cache, clock):
        cache.set("key", "old", 10)
        clock.advance(10)
        assert cache.add("key", "new", 10) is True
        clock.advance(9)
        assert cache.get("key") == "new"

    def test_with_timeout_zero_stores_nothing_but_returns_true(self, cache, locmem):
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

    def test_without_timeout_uses_the_default(self, cache, clock):
        cache.set("key", 1, 10)
        cache.touch("key")
        clock.advance(299)
        assert "key" in cache
        clock.advance(1)
        assert "key" not in cache

    def test_with_none_removes_the_expiry(self, cache, clock):
        cache.set("key", 1, 10)
        cache.touch("key", None)
        clock.advance(10_000 * DAY)
        assert cache.get("key") == 1

    @pytest.mark.parametrize("timeout", [0, -1, -HUGE])
    def test_with_timeout_zero_removes(self, cache, timeout):
        cache.set("key", 1)
        assert cache.touch("key", timeout) is True
        assert cache.get("key") is None

    def test_of_expired_key_is_false(self, cache, clock):
        cache.set("key", 1, 10)
        clock.advance(10)
        assert cache.touch("key", 10) is False
        assert cache.get("key") is None


class TestDelete:
    def test_returns_whether_there_was_a_value(self, cache):
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
    def test_of_a_value_that_cannot_be_added_to_raises_and_keeps_the_value(self, cache, locmem, value, delta):
        errors = []
        for each in (cache, locmem):
            each.set("key", value)
            with pytest.raises(TypeError) as raised:
                each.incr("key", delta)
            errors.append(str(raised.value))
            assert each.get("key") == value
        assert errors[0] == errors[1]

    def test_error_of_the_addition_is_raised(self, cache):
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

    def test_get_many_of_no_keys_is_empty(self, cache):
        assert cache.get_many([]) == {}
        assert type(cache.get_many(iter(()))) is dict

    @pytest.mark.parametrize("keys", [None, 5])
    def test_get_many_of_a_non_iterable_raises(self, cache, keys):
        for method in (cache.get_many, cache.delete_many):
            with pytest.raises(TypeError, match="not iterable"):
                method(keys)

    def test_get_many_omits_expired_entries(self, cache, clock):
        cache.set("a", 1, 10)
        cache.set("b", 2, 20)
        clock.advance(10)
        assert cache.get_many(["a", "b"]) == {"b": 2}

    def test_error_of_the_iterable_is_raised(self, cache):
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

    @pytest.mark.parametrize("keys", [["a", "x"], ("a",), {"a"}, "a"], ids=repr)
    @pytest.mark.parametrize("kind", [lambda keys: keys, iter], ids=["itself", "iter"])
    def test_delete_many_takes_any_iterable(self, cache, keys, kind):
        cache.set_many({"a": 1, "b": 2})
        assert cache.delete_many(kind(keys)) is None
        assert cache.get_many("ab") == {"b": 2}

    def test_delete_many_takes_a_version(self, cache):
        cache.set("a", 1)
        cache.set("a", 2, version=2)
        cache.delete_many(["a"], version=2)
        assert cache.get("a") == 1
        assert cache.get("a", version=2) is None


class TestIncrOfAMissingKey:
    """``ignore_key_check``, which django-redis has, too."""

    def test_stores_the_delta_without_expiry(self, cache):
        assert cache.incr("key", ignore_key_check=True) == 1
        assert cache.incr("other", 5, version=2, ignore_key_check=True) == 5
        assert (cache.get("key"), cache.get("other", version=2)) == (1, 5)
        assert (cache.ttl("key"), cache.ttl("other", version=2)) == (None, None)

    def test_adds_to_an_existing_value_and_keeps_its_expiry(self, cache):
        cache.set("key", 5, 60)
        assert cache.incr("key", 2, ignore_key_check=True) == 7
        assert cache.ttl("key") == 60

    def test_has_an_asynchronous_variant(self, cache):
        assert asyncio.run(cache.aincr("key", 3, ignore_key_check=True)) == 3
        assert asyncio.run(cache.aincr("key", ignore_key_check=True)) == 4

    def test_is_an_error_without_the_argument(self, cache):
        with pytest.raises(ValueError, match="Key ':1:key' not found"):
            cache.incr("key", ignore_key_check=False)

    def test_error_of_the_addition_is_raised(self, cache):
        class Refusing:
            def __radd__(self, other):
                raise ValueError("no sum")

        cache.set("key", 1)
        with pytest.raises(ValueError, match="no sum"):
            cache.incr("key", Refusing(), ignore_key_check=True)
        assert cache.get("key") == 1

    def test_a_key_that_another_caller_adds_meanwhile_is_incremented(self, backend, make_cache):
        class Overtaken(backend):
            def add(self, key, value, timeout=DEFAULT_TIMEOUT, version=None):
                self.set(key, 10, timeout, version)
                return False

        assert make_cache(backend=Overtaken).incr("key", ignore_key_check=True) == 11

    @pytest.mark.local_only("bounds of memory")
    def test_what_does_not_fit_is_an_error(self, make_cache):
        with pytest.raises(ValueError, match="for the key 'key': the entry is too large"):
            make_cache(MAX_MEMORY=1024).incr("key", "x" * 2000, ignore_key_check=True)

    def test_counts_exactly_in_threads(self, cache):
        def count():
            for _ in range(200):
                cache.incr("key", ignore_key_check=True)

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert cache.get("key") == 800


class TestGetOrSet:
    def test_stores_and_returns_the_default(self, cache):
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

    def test_returns_what_another_caller_stored_meanwhile(self, cache):
        def slow():
            cache.set("key", "other")
            return "mine"

        assert cache.get_or_set("key", slow) == "other"

    def test_returns_the_default_even_if_it_expires_at_once(self, cache):
        assert cache.get_or_set("key", 5, timeout=0) == 5
        assert "key" not in cache

    def test_error_of_the_callable_is_raised(self, cache):
        with pytest.raises(ZeroDivisionError):
            cache.get_or_set("key", lambda: 1 / 0)
        assert "key" not in cache


class TestClear:
    def test_removes_all_entries_of_all_versions(self, cache):
        cache.set_many({"a": 1, "b": [2]})
        cache.set("a", 3, version=2)
        assert cache.clear() is None
        assert cache.get_many("ab") == {}
        assert cache.get("a", version=2) is None
        assert cache.stats().entries == 0
        assert cache.stats().memory == 0


class TestHasKey:
    def test_is_the_same_as_in(self, cache, clock):
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
