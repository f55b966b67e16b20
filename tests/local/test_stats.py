"""stats() and reset_stats(): what is counted, of what there may be how much, and since when."""

import asyncio
import itertools
import threading

import pytest

from support.caches import new_location

MIB = 1024**2
COUNTS = ("hits", "misses", "sets", "deletes", "evictions", "expirations", "rejections")


def counts(stats):
    return {name: getattr(stats, name) for name in COUNTS}


class TestCapacity:
    def test_is_that_of_the_settings(self, make_cache):
        stats = make_cache(MAX_ENTRIES=10, MAX_MEMORY="2MB").stats()
        assert (stats.max_entries, stats.max_memory) == (10, 2 * MIB)

    def test_is_none_for_no_bound(self, make_cache):
        assert make_cache().stats().max_entries is None
        assert make_cache().stats().max_memory == 64 * MIB
        assert make_cache(MAX_ENTRIES=10).stats().max_memory is None

    def test_is_the_handle_s(self, make_cache):
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

    def test_is_no_part_of_equality(self, cache):
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

    def test_starts_all_counts_anew_and_keeps_what_is_stored(self, make_cache):
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

    def test_lets_the_age_begin_anew(self, cache):
        while (before := cache.stats().age) == 0:
            pass
        cache.reset_stats()
        reset = cache.stats().age
        assert reset < before + 1

    def test_is_for_every_handle_of_the_store(self, make_cache):
        location = new_location()
        one, other = make_cache(LOCATION=location), make_cache(LOCATION=location)
        one.get("key")
        other.reset_stats()
        assert one.stats().misses == 0

    def test_has_a_twin(self, cache):
        cache.get("key")
        assert asyncio.run(cache.astats()).misses == 1
        asyncio.run(cache.areset_stats())
        assert asyncio.run(cache.astats()) == cache.stats()
        assert cache.stats().misses == 0

    @pytest.mark.parametrize("name", [*COUNTS, "max_entries", "max_memory", "age"])
    def test_is_the_only_way_to_change_them(self, cache, name):
        with pytest.raises(AttributeError):
            setattr(cache.stats(), name, 5)


class TestThreads:
    THREADS = 32
    ROUNDS = 50

    def test_see_sums_that_only_grow_while_32_of_them_write(self, make_cache):
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

    def test_may_reset_meanwhile(self, cache):
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
