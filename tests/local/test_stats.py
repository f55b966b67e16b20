"""stats() and reset_stats(): counts, capacity and age."""

import asyncio
import itertools
import threading

import pytest

from nearcache import Stats
from support.caches import new_location

MIB = 1024**2
COUNTS = ("hits", "misses", "sets", "deletes", "evictions", "expirations", "rejections")


def counts(stats):
    return {name: getattr(stats, name) for name in COUNTS}


def counts_and_entries(cache):
    """Return the counts of operations and of entries."""
    stats = cache.stats()
    names = ("hits", "misses", "sets", "deletes", "evictions", "expirations", "rejections", "entries")
    return {name: getattr(stats, name) for name in names}


class TestCounts:
    @pytest.fixture
    def cache(self, make_cache, clock):
        """Return a cache whose time stands still."""
        return make_cache(CLOCK=clock.path)

    def test_are_zero_in_a_new_store(self, cache):
        stats = cache.stats()
        assert type(stats) is Stats
        assert set(counts_and_entries(cache).values()) == {0}
        assert stats.memory == 0
        assert stats.hit_ratio is None

    COUNTED = {  # noqa: RUF012
        "get of a present key": (lambda cache: cache.get("there"), {"hits": 1}),
        "get of None": (lambda cache: cache.get("none"), {"hits": 1}),
        "get of a missing key": (lambda cache: cache.get("missing"), {"misses": 1}),
        "get_many": (lambda cache: cache.get_many(["there", "none", "x", "there"]), {"hits": 3, "misses": 1}),
        "has_key": (lambda cache: cache.has_key("there"), {}),
        "has_key of a missing key": (lambda cache: cache.has_key("missing"), {}),
        "in": (lambda cache: "there" in cache, {}),
        "touch": (lambda cache: cache.touch("there"), {}),
        "touch of a missing key": (lambda cache: cache.touch("missing"), {}),
        "touch that removes": (lambda cache: cache.touch("there", 0), {"expirations": 1, "entries": -1}),
        "incr": (lambda cache: cache.incr("there"), {"sets": 1}),
        "decr": (lambda cache: cache.decr("there"), {"sets": 1}),
        "incr_version": (lambda cache: cache.incr_version("there"), {"hits": 1, "sets": 1, "deletes": 1}),
        "set of a missing key": (lambda cache: cache.set("new", 1), {"sets": 1, "entries": 1}),
        "set of a present key": (lambda cache: cache.set("there", 2), {"sets": 1}),
        "add of a missing key": (lambda cache: cache.add("new", 1), {"sets": 1, "entries": 1}),
        "add of a present key": (lambda cache: cache.add("there", 2), {}),
        "set_many": (lambda cache: cache.set_many({"new": 1, "there": 2}), {"sets": 2, "entries": 1}),
        "get_or_set of a present key": (lambda cache: cache.get_or_set("there", 2), {"hits": 1}),
        "get_or_set of a missing key": (
            lambda cache: cache.get_or_set("new", 1),
            {"misses": 1, "sets": 1, "hits": 1, "entries": 1},
        ),
        "delete": (lambda cache: cache.delete("there"), {"deletes": 1, "entries": -1}),
        "delete of a missing key": (lambda cache: cache.delete("missing"), {}),
        "delete_many": (lambda cache: cache.delete_many(["there", "missing"]), {"deletes": 1, "entries": -1}),
        "clear": (lambda cache: cache.clear(), {"deletes": 2, "entries": -2}),
    }

    @pytest.mark.parametrize(("use", "counted"), COUNTED.values(), ids=COUNTED)
    def test_count_each_operation(self, cache, use, counted):
        cache.set_many({"there": 1, "none": None})
        before = counts_and_entries(cache)
        use(cache)
        after = counts_and_entries(cache)
        assert {name: after[name] - before[name] for name in after if after[name] != before[name]} == counted

    def test_count_a_read_of_an_expired_entry_as_a_miss(self, cache, clock):
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

    def test_include_memory(self, cache):
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
    def test_memory_is_at_least_the_size_of_a_value(self, cache, value):
        cache.set("key", value)
        assert 100_000 <= cache.stats().memory <= 500_000

    def test_include_the_hit_ratio(self, cache):
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

    def test_are_all_in_the_repr(self, cache):
        cache.set("key", 1)
        cache.get_many(["key", "missing", "none"])
        memory = cache.stats().memory
        text, _, age = repr(cache.stats()).rpartition(", age=")
        assert text == (
            "Stats(hits=1, misses=2, hit_ratio=0.3333, sets=1, deletes=0, evictions=0, expirations=0, "
            "rejections=0, flights=0, waits=0, stale_hits=0, refreshes=0, failed_refreshes=0, "
            f"time_saved=0.000, entries=1, memory={memory}, max_entries=None, max_memory=67108864"
        )
        assert float(age.removesuffix(")")) >= 0

    def test_repr_before_the_first_read_has_no_ratio(self, cache):
        assert "hit_ratio=None" in repr(cache.stats())


class TestCapacity:
    def test_is_that_of_the_settings(self, make_cache):
        stats = make_cache(MAX_ENTRIES=10, MAX_MEMORY="2MB").stats()
        assert (stats.max_entries, stats.max_memory) == (10, 2 * MIB)

    def test_is_none_without_a_bound(self, make_cache):
        assert make_cache().stats().max_entries is None
        assert make_cache().stats().max_memory == 64 * MIB
        assert make_cache(MAX_ENTRIES=10).stats().max_memory is None

    def test_is_that_of_the_handle(self, make_cache):
        location = new_location()
        one, other = (make_cache(LOCATION=location, MAX_ENTRIES=bound) for bound in (5, 10))
        one.set("key", 1)
        assert (one.stats().max_entries, other.stats().max_entries) == (5, 10)
        assert one.stats().entries == other.stats().entries == 1
        assert one.stats() != other.stats()

    def test_follows_an_assignment(self, cache):
        cache._max_entries = 7
        assert cache.stats().max_entries == 7


class TestAge:
    def test_is_a_number_of_seconds_that_grows(self, cache):
        first = cache.stats().age
        assert type(first) is float
        assert 0 <= first <= cache.stats().age

    def test_does_not_affect_equality(self, cache):
        first = cache.stats()
        while (later := cache.stats()).age == first.age:
            pass
        assert later == first


class TestReset:
    def fill(self, make_cache):
        cache = make_cache(MAX_ENTRIES=2, MAX_MEMORY=10_000)
        cache.set_many({"a": 1, "b": 2, "c": 3, "d": 4})
        cache.set("large", "x" * 20_000)
        cache.get_many(["a", "b", "c", "d", "e"])
        cache.delete_many(["a", "b", "c", "d"])
        cache.set("last", 1)
        return cache

    def test_sets_all_counts_to_zero_and_keeps_the_entries(self, make_cache):
        cache = self.fill(make_cache)
        before = cache.stats()
        assert before.hits * before.misses * before.sets * before.deletes * before.evictions > 0
        assert before.rejections > 0
        cache.reset_stats()
        after = cache.stats()
        assert counts(after) == dict.fromkeys(COUNTS, 0)
        assert after.hit_ratio is None
        assert (after.entries, after.memory) == (before.entries, before.memory)
        assert (after.max_entries, after.max_memory) == (before.max_entries, before.max_memory)
        assert cache.get("last") == 1

    def test_restarts_the_age(self, cache):
        while (before := cache.stats().age) == 0:
            pass
        cache.reset_stats()
        reset = cache.stats().age
        assert reset < before + 1

    def test_affects_every_handle_of_the_store(self, make_cache):
        location = new_location()
        one, other = make_cache(LOCATION=location), make_cache(LOCATION=location)
        one.get("key")
        other.reset_stats()
        assert one.stats().misses == 0

    def test_has_an_asynchronous_variant(self, cache):
        cache.get("key")
        assert asyncio.run(cache.astats()).misses == 1
        asyncio.run(cache.areset_stats())
        assert asyncio.run(cache.astats()) == cache.stats()
        assert cache.stats().misses == 0

    @pytest.mark.parametrize("name", [*COUNTS, "max_entries", "max_memory", "age"])
    def test_is_the_only_way_to_change_counts(self, cache, name):
        with pytest.raises(AttributeError):
            setattr(cache.stats(), name, 5)


class TestThreads:
    THREADS = 32
    ROUNDS = 50

    def test_counts_only_grow_while_32_threads_write(self, make_cache):
        cache = make_cache(MAX_ENTRIES=500)
        start = threading.Barrier(self.THREADS + 1)

        def write(number):
            start.wait()
            for one in range(self.ROUNDS):
                cache.set(f"{number}-{one}", one)
                cache.get(f"{number}-{one}")
                cache.get("missing")
                cache.delete(f"{number}-{one}")

        threads = [threading.Thread(target=write, args=(number,)) for number in range(self.THREADS)]
        for thread in threads:
            thread.start()
        start.wait()
        seen = [cache.stats()]
        while any(thread.is_alive() for thread in threads):
            seen.append(cache.stats())
        for thread in threads:
            thread.join()
        seen.append(cache.stats())
        for earlier, later in itertools.pairwise(seen):
            assert all(getattr(earlier, name) <= getattr(later, name) for name in COUNTS)
            assert later.entries <= 500
            assert later.hit_ratio is None or 0 <= later.hit_ratio <= 1
        writes = self.THREADS * self.ROUNDS
        last = seen[-1]
        assert last.sets == writes
        assert last.hits + last.misses == 2 * writes
        assert last.deletes + last.evictions == writes
        assert last.entries == 0

    def test_reset_is_possible_while_threads_write(self, cache):
        done = threading.Event()

        def write():
            while not done.is_set():
                cache.set("key", 1)
                cache.get("key")

        threads = [threading.Thread(target=write) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(100):
            cache.reset_stats()
            assert cache.stats().misses == 0
        done.set()
        for thread in threads:
            thread.join()
        cache.reset_stats()
        assert counts(cache.stats()) == dict.fromkeys(COUNTS, 0)
