"""Which entries are evicted when a cache is full.

With EVICTION="lru" it is exactly what LocMemCache would choose. With the default policy the bounds hold;
its choice is tested with the engine.
"""

import math
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.caches import new_location

KEYS = [f"k{number}" for number in range(14)]
# (MAX_ENTRIES, CULL_FREQUENCY)
LIMITS = [
    *((1, frequency) for frequency in (0, 1, 2, 3)),
    *((2, frequency) for frequency in (0, 1, 2, 3)),
    *((3, frequency) for frequency in (0, 1, 2, 3, 4)),
    *((5, frequency) for frequency in (0, 1, 2, 3, 5, 6, 7)),
    *((10, frequency) for frequency in (0, 1, 2, 3, 4, 9, 10, 11, 13, 100)),
]

KEY = st.sampled_from(KEYS)
OPERATION = st.one_of(
    st.tuples(st.just("set"), KEY, st.integers(0, 9)),
    st.tuples(st.just("set"), KEY, st.just([1])),
    st.tuples(st.just("add"), KEY, st.integers(0, 9)),
    st.tuples(st.just("get"), KEY),
    st.tuples(st.just("get_many"), st.lists(KEY, max_size=4)),
    st.tuples(st.just("set_many"), st.dictionaries(KEY, st.integers(0, 9), max_size=5)),
    st.tuples(st.just("get_or_set"), KEY, st.integers(0, 9)),
    st.tuples(st.just("touch"), KEY),
    st.tuples(st.just("incr"), KEY),
    st.tuples(st.just("has_key"), KEY),
    st.tuples(st.just("delete"), KEY),
    st.tuples(st.just("delete_many"), st.lists(KEY, max_size=3)),
    st.tuples(st.just("incr_version"), KEY),
)


def survivors(cache):
    """Return which keys are there. Looking is no use, in either cache."""
    return {(key, version) for key in KEYS for version in (1, 2) if cache.has_key(key, version=version)}


def outcome(cache, name, *arguments):
    try:
        return getattr(cache, name)(*arguments)
    except (ValueError, TypeError) as error:
        return type(error), str(error)


def random_operations(count, seed, keys=KEYS):
    """Mostly what fills a cache and what makes it choose."""
    chance = random.Random(seed)
    for _ in range(count):
        name = chance.choice(
            ["set"] * 4
            + ["get"] * 3
            + ["add", "incr", "touch", "has_key", "delete", "get_many", "set_many", "get_or_set"]
        )
        if name == "get_many":
            yield name, chance.sample(keys, 3)
        elif name == "set_many":
            yield name, dict.fromkeys(chance.sample(keys, 3), 1)
        elif name in ("set", "add", "get_or_set"):
            yield name, chance.choice(keys), chance.randrange(10)
        else:
            yield name, chance.choice(keys)


class TestLruIsLocMemCachesOrder:
    @given(st.sampled_from(LIMITS), st.lists(OPERATION, min_size=15, max_size=60))
    @settings(max_examples=400)
    def test_same_keys_survive_any_operations(self, make_cache, make_locmem, limits, operations):
        options = {"MAX_ENTRIES": limits[0], "CULL_FREQUENCY": limits[1]}
        cache, locmem = make_cache(EVICTION="lru", **options), make_locmem(**options)
        for operation in operations:
            assert outcome(cache, *operation) == outcome(locmem, *operation)
            assert survivors(cache) == survivors(locmem), operation

    @pytest.mark.parametrize(("max_entries", "frequency"), LIMITS)
    def test_same_keys_survive_long_runs(self, make_cache, make_locmem, max_entries, frequency):
        options = {"MAX_ENTRIES": max_entries, "CULL_FREQUENCY": frequency}
        cache, locmem = make_cache(EVICTION="lru", **options), make_locmem(**options)
        for operation in random_operations(1_000, seed=str(options)):
            assert outcome(cache, *operation) == outcome(locmem, *operation)
            assert survivors(cache) == survivors(locmem), operation
        # With a frequency above the number of keys nothing is ever culled, which is LocMemCache's way too.
        assert (cache.stats().evictions > 0) == (frequency <= len(KEYS))

    @pytest.mark.parametrize(("max_entries", "frequency"), [(300, 3), (300, 2), (250, 7), (300, 0), (50, 60)])
    def test_same_keys_survive_with_hundreds_of_entries(
        self, make_cache, make_locmem, max_entries, frequency
    ):
        options = {"MAX_ENTRIES": max_entries, "CULL_FREQUENCY": frequency}
        cache, locmem = make_cache(EVICTION="lru", **options), make_locmem(**options)
        keys = [str(number) for number in range(500)]
        for step, operation in enumerate(random_operations(5_000, seed=str(options), keys=keys)):
            assert outcome(cache, *operation) == outcome(locmem, *operation)
            if step % 50 == 0:
                assert [cache.has_key(key) for key in keys] == [locmem.has_key(key) for key in keys]
        assert cache.stats().evictions > 0

    def test_defaults_are_django_s(self, make_cache, make_locmem):
        """MAX_ENTRIES alone: a third goes at once. CULL_FREQUENCY alone: of 300."""
        for options in ({"MAX_ENTRIES": 30}, {"CULL_FREQUENCY": 5}):
            cache, locmem = make_cache(EVICTION="lru", **options), make_locmem(**options)
            for number in range(700):
                cache.set(number, 1)
                locmem.set(number, 1)
                if number % 10 == 0:
                    assert [key in cache for key in range(700)] == [key in locmem for key in range(700)]
            assert cache.stats().evictions > 100

    @pytest.mark.parametrize("values", [(1, 2), ([1], [2]), ("text", b"bytes")])
    def test_kind_of_value_does_not_matter(self, make_cache, make_locmem, values):
        cache, locmem = make_cache(EVICTION="lru", MAX_ENTRIES=6), make_locmem(MAX_ENTRIES=6)
        for number, key in enumerate(KEYS * 3):
            for each in (cache, locmem):
                each.set(key, values[number % 2])
                each.get(KEYS[number % 5])
            assert survivors(cache) == survivors(locmem)

    @pytest.mark.parametrize(
        ("use", "saved"),
        [
            (lambda cache: cache.get("a"), True),
            (lambda cache: cache.get_many(["a"]), True),
            (lambda cache: cache.set("a", 2), True),
            (lambda cache: cache.incr("a"), True),
            (lambda cache: cache.get_or_set("a", 2), True),
            (lambda cache: cache.add("a", 2), False),
            (lambda cache: cache.touch("a"), False),
            (lambda cache: cache.has_key("a"), False),
            (lambda cache: "a" in cache, False),
        ],
        ids=["get", "get_many", "set", "incr", "get_or_set", "add", "touch", "has_key", "in"],
    )
    def test_which_uses_keep_an_entry(self, make_cache, make_locmem, use, saved):
        for cache in (
            make_cache(EVICTION="lru", MAX_ENTRIES=4, CULL_FREQUENCY=4),
            make_locmem(MAX_ENTRIES=4, CULL_FREQUENCY=4),
        ):
            cache.set_many({"a": 1, "b": 1, "c": 1})
            use(cache)
            cache.set_many({"d": 1, "e": 1})
            assert ("a" in cache) is saved
            assert ("b" in cache) is not saved

    def test_a_write_to_an_existing_key_of_a_full_cache_culls_too(self, make_cache, make_locmem):
        for cache in (make_cache(EVICTION="lru", MAX_ENTRIES=3), make_locmem(MAX_ENTRIES=3)):
            cache.set_many({"a": 1, "b": 1, "c": 1})
            cache.set("c", 2)
            assert cache.get_many("abc") == {"b": 1, "c": 2}


class TestHandlesOfOneStore:
    """The limit belongs to the handle that writes, the entries to the store."""

    @pytest.mark.parametrize(("first", "second"), [((10, 3), (4, 2)), ((3, 1), (12, 4)), ((5, 0), (10, 3))])
    def test_with_different_limits_behave_as_in_locmem(self, make_cache, make_locmem, first, second):
        ours, django = [], []
        location = new_location()
        for max_entries, frequency in (first, second):
            options = {"LOCATION": location, "MAX_ENTRIES": max_entries, "CULL_FREQUENCY": frequency}
            ours.append(make_cache(EVICTION="lru", **options))
            django.append(make_locmem(**options))
        chance = random.Random(f"{first} {second}")
        for operation in random_operations(1_000, seed="handles"):
            one = chance.randrange(2)
            assert outcome(ours[one], *operation) == outcome(django[one], *operation)
            assert survivors(ours[0]) == survivors(django[0]), operation

    def test_limit_of_the_last_writer_applies(self, make_cache):
        location = new_location()
        small, large = (
            make_cache(LOCATION=location, MAX_ENTRIES=5),
            make_cache(LOCATION=location, MAX_ENTRIES=20),
        )
        large.set_many(dict.fromkeys(range(20), 1))
        assert large.stats().entries == 20
        small.set("new", 1)
        assert small.stats().entries == 5
        large.set_many(dict.fromkeys(range(100, 130), 1))
        assert large.stats().entries == 20


class TestLiveLimits:
    @pytest.mark.parametrize("eviction", ["adaptive", "s3-fifo", "lru"])
    def test_max_entries_assigned_takes_effect_with_the_next_write(self, make_cache, eviction):
        cache = make_cache(MAX_ENTRIES=10, CULL_FREQUENCY=1, EVICTION=eviction)
        cache.set_many(dict.fromkeys(range(10), 1))
        assert cache.stats().entries == 10
        cache._max_entries = 20
        cache.set_many(dict.fromkeys(range(100, 110), 1))
        assert cache.stats().entries == 20
        cache._max_entries = 5
        cache.set("new", 1)
        assert cache.stats().entries == 1

    def test_max_entries_assigned_holds_exactly(self, make_cache):
        cache = make_cache(MAX_ENTRIES=10)
        for limit in (3, 30, 1, 17):
            cache._max_entries = limit
            cache.set_many(dict.fromkeys(range(100), 1))
            assert cache.stats().entries == limit

    def test_lru_limits_assigned_behave_as_in_locmem(self, make_cache, make_locmem):
        cache, locmem = make_cache(EVICTION="lru", MAX_ENTRIES=10), make_locmem(MAX_ENTRIES=10)
        chance = random.Random("live limits")
        for step, operation in enumerate(random_operations(2_000, seed="live limits")):
            if step % 40 == 0:
                limits = {"_max_entries": chance.randrange(1, 13), "_cull_frequency": chance.randrange(5)}
                for each in (cache, locmem):
                    for name, value in limits.items():
                        setattr(each, name, value)
            assert outcome(cache, *operation) == outcome(locmem, *operation)
            assert survivors(cache) == survivors(locmem), (limits, operation)

    def test_max_memory_assigned_takes_effect_with_the_next_write(self, make_cache):
        cache = make_cache(MAX_MEMORY=1_000_000)
        cache.set_many({key: bytes(10_000) for key in range(50)})
        cache._max_memory = 100_000
        cache.set("new", 1)
        assert 50_000 < cache.stats().memory <= 100_000
        cache._max_memory = None
        cache.set_many({key: bytes(10_000) for key in range(500)})
        assert cache.stats().entries == 501

    @pytest.mark.parametrize("value", [5, 5.0, "5", " 5 ", "5.0", "5e0", "0_5"], ids=repr)
    def test_limit_may_be_any_whole_number(self, make_cache, value):
        cache = make_cache(CULL_FREQUENCY=2, MAX_ENTRIES=10)
        cache._max_entries = cache._cull_frequency = value
        cache.set_many(dict.fromkeys(range(50), 1))
        assert cache.stats().max_entries == 5
        assert cache.stats().entries == 5
        cache._max_entries = None
        cache._max_memory = str(64e3)
        assert cache.stats().max_memory == 64_000

    @pytest.mark.parametrize("value", [10e9, 1e300, 10**400, "1e300", 2**63], ids=str)
    def test_limit_larger_than_any_store_is_no_limit(self, make_cache, value):
        cache = make_cache(MAX_ENTRIES=1)
        cache._max_entries = value
        cache.set_many(dict.fromkeys(range(500), 1))
        assert cache.stats().entries == 500

    @pytest.mark.parametrize("name", ["_max_entries", "_cull_frequency", "_max_memory"])
    @pytest.mark.parametrize(
        "value",
        ["many", "", 1.5, "1.5", math.inf, math.nan, "inf", "nan", True, False, b"10", [10]],
        ids=repr,
    )
    def test_limit_that_is_not_a_number_is_refused_and_the_old_one_stays(self, make_cache, name, value):
        cache = make_cache(MAX_ENTRIES=10, CULL_FREQUENCY=2, MAX_MEMORY=5_000)
        before = getattr(cache, name)
        with pytest.raises(
            TypeError, match=re.escape(f"{name} must be a whole number or None, not {value!r}")
        ):
            setattr(cache, name, value)
        assert getattr(cache, name) == before
        cache.set_many(dict.fromkeys(range(11), 1))
        assert cache.stats().entries == 6


class TestDefaultPolicy:
    @pytest.mark.parametrize("limit", [1, 2, 3, 10, 299, 300, 1000])
    def test_holds_exactly_max_entries(self, make_cache, limit):
        cache = make_cache(MAX_ENTRIES=limit)
        for number in range(2 * limit + 10):
            cache.set(number, number)
            assert cache.stats().entries == min(number + 1, limit)
            assert cache.get(number) == number
        assert len(cache.get_many(range(2 * limit + 10))) == limit

    def test_overwriting_evicts_nothing(self, make_cache):
        cache = make_cache(MAX_ENTRIES=3)
        for _ in range(5):
            cache.set_many({"a": 1, "b": 2, "c": 3})
        assert cache.get_many("abc") == {"a": 1, "b": 2, "c": 3}
        assert cache.stats().evictions == 0

    @pytest.mark.parametrize(("limit", "frequency"), [(10, 1), (10, 2), (10, 3), (30, 7), (10, 0), (300, 3)])
    def test_cull_frequency_sets_the_part_evicted_at_once(self, make_cache, limit, frequency):
        cache = make_cache(MAX_ENTRIES=limit, CULL_FREQUENCY=frequency)
        cache.set_many(dict.fromkeys(range(limit), 1))
        assert cache.stats().entries == limit
        cache.set("more", 1)
        culled = limit // frequency if frequency else limit
        assert cache.stats().evictions == culled
        assert cache.stats().entries == limit - culled + 1
        assert "more" in cache

    def test_cull_frequency_alone_applies_to_django_s_300_entries(self, make_cache):
        cache = make_cache(CULL_FREQUENCY=3)
        cache.set_many(dict.fromkeys(range(301), 1))
        assert cache.stats().entries == 201

    def test_without_limits_holds_more_than_django_s_300_entries(self, cache):
        cache.set_many(dict.fromkeys(range(10_000), 1))
        assert cache.stats().entries == 10_000
        assert len(cache.get_many(range(10_000))) == 10_000

    def test_keeps_frequently_used_entries(self, make_cache):
        cache = make_cache(MAX_ENTRIES=100)
        cache.set_many(dict.fromkeys(("hot", "hotter"), 1))
        for number in range(10_000):
            cache.get_many(["hot", "hotter"])
            cache.set(number, number)
        assert cache.get_many(["hot", "hotter"]) == {"hot": 1, "hotter": 1}

    @given(st.integers(1, 12), st.lists(OPERATION, min_size=15, max_size=60))
    def test_never_exceeds_max_entries_nor_returns_a_wrong_value(self, make_cache, limit, operations):
        """The cache may forget, but what it tells is what was stored last."""
        cache = make_cache(MAX_ENTRIES=limit)
        written = {}
        for operation in operations:
            name, key, *values = operation
            outcome(cache, *operation)
            if name in ("set", "add", "get_or_set"):
                written.setdefault(key, []).append(values[0])
            elif name == "set_many":
                for one, value in key.items():
                    written.setdefault(one, []).append(value)
            assert cache.stats().entries <= limit
            if name == "set":
                assert cache.get(key) == values[0]
        for key, value in cache.get_many(KEYS).items():
            assert key in written
            # Sums: at most one for each operation.
            if isinstance(value, int):
                assert 0 <= value <= 9 + len(operations)


VALUE_SIZES = st.one_of(st.integers(0, 300), st.integers(0, 6_000))


def value_of(size, kind):
    return {
        "bytes": lambda: bytes(size),
        "str": lambda: "x" * size,
        "list": lambda: list(range(size // 8)),
        "pickle": lambda: bytearray(size),
        "sum": lambda: "x" * size,
    }[kind]()


class TestMaxMemory:
    @pytest.mark.parametrize("eviction", ["adaptive", "s3-fifo", "lru"])
    @given(
        st.integers(1024, 5_000),
        st.lists(
            st.tuples(
                st.sampled_from(KEYS), VALUE_SIZES, st.sampled_from(["bytes", "str", "list", "pickle", "sum"])
            ),
            min_size=10,
            max_size=60,
        ),
    )
    def test_memory_is_never_above_the_bound(self, make_cache, eviction, limit, writes):
        cache = make_cache(MAX_MEMORY=limit, EVICTION=eviction)
        for key, size, kind in writes:
            value = value_of(size, kind)
            rejections = cache.stats().rejections
            if kind == "sum" and isinstance(cache.get(key), str):
                value = cache.get(key) + value
                assert cache.incr(key, value_of(size, kind)) == value
            else:
                cache.set(key, value)
            stats = cache.stats()
            assert stats.memory <= limit
            # The newest is stored unless it was rejected, and only a value near the bound or above may be.
            assert (cache.get(key) == value) == (stats.rejections == rejections)
            if stats.rejections > rejections:
                assert 8 * size + 1024 > limit or kind == "sum"

    @pytest.mark.parametrize("eviction", ["adaptive", "s3-fifo", "lru"])
    @pytest.mark.parametrize("limit", [10_000, "64KB", 1_000_000])
    def test_memory_is_nearly_used_up(self, make_cache, eviction, limit):
        cache = make_cache(MAX_MEMORY=limit, EVICTION=eviction)
        chance = random.Random("sizes")
        limit = 65_536 if limit == "64KB" else limit
        for number in range(3_000):
            cache.set(number, bytes(chance.randrange(1_000)))
            assert cache.stats().memory <= limit
        assert cache.stats().memory > 0.8 * limit
        assert cache.stats().evictions > 0
        assert cache.stats().rejections == 0

    def test_large_value_makes_room_for_itself(self, make_cache):
        cache = make_cache(MAX_MEMORY=100_000)
        cache.set_many({number: bytes(1_000) for number in range(80)})
        cache.set("large", bytes(90_000))
        assert cache.get("large") == bytes(90_000)
        assert cache.stats().memory <= 100_000

    def test_growing_by_incr_makes_room_for_itself(self, make_cache):
        cache = make_cache(MAX_MEMORY=20_000)
        cache.set_many({number: bytes(1_000) for number in range(10)})
        cache.set("sum", b"")
        for _ in range(15):
            cache.incr("sum", bytes(1_000))
            assert cache.stats().memory <= 20_000
        assert cache.get("sum") == bytes(15_000)

    def test_max_memory_and_max_entries_both_apply(self, make_cache):
        cache = make_cache(MAX_MEMORY=50_000, MAX_ENTRIES=20)
        for number in range(100):
            cache.set(number, bytes(10))
            assert cache.stats().entries <= 20
        assert cache.stats().entries == 20
        for number in range(100):
            cache.set(number, bytes(10_000))
            assert cache.stats().memory <= 50_000
        assert 1 < cache.stats().entries < 5

    def test_is_64_mb_by_default(self, cache):
        for number in range(100):
            cache.set(number, bytes(1_000_000))
        assert 60_000_000 < cache.stats().memory <= 64 * 1024**2
