"""Values that a process has read before come from its object cache, and are never older than the file."""

import copyreg
import os
import pickle
import sys
import threading
import time

import pytest
from django.core.exceptions import ImproperlyConfigured

from nearcache.django import SharedCache
from support.children import in_a_child
from support.sample_values import MUTABLE, Box, describe, every, spoil

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="SharedCache is for Linux")

ROWS = [{"id": number, "name": f"name {number}"} for number in range(5)]


def opened(path, **options):
    return SharedCache(str(path), {"OPTIONS": {"MAX_MEMORY": "1MB", **options}})


@pytest.fixture
def path(shared_memory):
    return shared_memory / f"objects-{os.urandom(4).hex()}"


@pytest.fixture
def cache(path):
    """Return a cache in a file of its own."""
    return opened(path)


def read(cache, times=3):
    """Read a value so often that it is kept, and return it."""
    for _ in range(times):
        found = cache.get("key")
    return found


class TestKept:
    def test_value_is_kept_when_it_is_read_for_the_second_time(self, cache):
        cache.set("key", ROWS)
        counts = []
        for _ in range(4):
            assert cache.get("key") == ROWS
            stats = cache.stats()
            counts.append((stats.object_entries, stats.object_hits))
        assert counts == [(0, 0), (1, 0), (1, 1), (1, 2)]
        assert stats.object_memory > 0
        assert stats.hits == 4

    def test_text_is_kept_when_it_is_read_first(self, cache):
        cache.set("key", "x" * 1000)
        assert cache.get("key") is cache.get("key")
        assert (cache.stats().object_entries, cache.stats().object_hits) == (1, 1)

    @pytest.mark.parametrize("value", [None, True, 5, 1.5, "short", b"short", (), []], ids=repr)
    def test_value_that_is_read_quickly_is_not_kept(self, cache, value):
        cache.set("key", value)
        assert read(cache, 5) == value
        assert cache.stats().object_entries == 0

    @every(MUTABLE)
    def test_what_comes_out_shares_nothing_with_what_is_kept(self, cache, make):
        cache.set("key", make(), None)
        wanted = describe(pickle.loads(pickle.dumps(make(), pickle.HIGHEST_PROTOCOL)))
        for _ in range(5):
            found = cache.get("key")
            assert describe(found) == wanted
            spoil(found)

    def test_get_many_uses_it(self, cache):
        cache.set("key", ROWS)
        for _ in range(3):
            assert cache.get_many(["key"]) == {"key": ROWS}
        assert cache.stats().object_hits == 1

    def test_object_that_cannot_be_pickled_again_is_returned(self, cache):
        cache.set("key", Once())
        for _ in range(4):
            assert isinstance(cache.get("key"), Once)
        assert (cache.stats().object_entries, cache.stats().unreadable) == (0, 0)

    def test_interruption_while_a_value_is_kept_is_raised(self, cache):
        cache.set("key", Once(KeyboardInterrupt))
        cache.get("key")
        with pytest.raises(KeyboardInterrupt):
            cache.get("key")


class Once:
    """Can be pickled, but what is unpickled cannot."""

    def __init__(self, raised=TypeError):
        self.raised = raised
        self.is_first = True

    def __reduce__(self):
        if not self.is_first:
            raise self.raised("again")
        return second, (self.raised,)


def second(raised):
    made = Once(raised)
    made.is_first = False
    return made


class TestStamp:
    @pytest.mark.parametrize("value", [ROWS, "x" * 1000, Box([1])], ids=["rows", "text", "object"])
    @pytest.mark.parametrize(
        "remove",
        [
            lambda cache: cache.delete("key"),
            lambda cache: cache.clear(),
            lambda cache: cache.touch("key", -1),
            lambda cache: cache.set("key", "other", 0),
            lambda cache: cache.expire("key", 0),
        ],
        ids=["delete", "clear", "touch", "set", "expire"],
    )
    def test_value_removed_by_another_process_is_not_returned(self, cache, value, remove):
        cache.set("key", value)
        assert read(cache) == value
        in_a_child(lambda: remove(cache))
        assert cache.get("key") is None
        assert cache.get_many(["key"]) == {}

    def test_value_overwritten_by_another_process_is_returned(self, cache):
        cache.set("key", [0, ROWS])
        for number in range(1, 6):
            assert read(cache) == [number - 1, ROWS]
            in_a_child(lambda number=number: cache.set("key", [number, ROWS]))
            assert cache.get("key") == [number, ROWS]

    def test_same_value_written_again_is_read_again(self, cache):
        cache.set("key", ROWS)
        read(cache)
        in_a_child(lambda: cache.set("key", ROWS))
        hits = cache.stats().object_hits
        assert cache.get("key") == ROWS
        assert cache.stats().object_hits == hits

    def test_touch_of_another_process_keeps_the_value(self, cache):
        cache.set("key", ROWS, 1)
        read(cache)
        in_a_child(lambda: cache.touch("key", 100))
        time.sleep(1.1)
        assert read(cache) == ROWS

    def test_expired_value_is_not_returned(self, cache):
        cache.set("key", ROWS, 0.2)
        assert read(cache) == ROWS
        time.sleep(0.3)
        assert cache.get("key") is None

    def test_value_of_another_type_is_returned(self, cache):
        for value in (ROWS, "x" * 1000, b"x" * 1000, Box([1]), ROWS, tuple(ROWS)):
            cache.set("key", value)
            assert describe(read(cache)) == describe(value)

    def test_replaced_file_is_read(self, path):
        cache = opened(path)
        cache.set("key", [1, ROWS])
        read(cache)
        opened(f"{path}-other").set("key", [2, ROWS])
        path.with_name(f"{path.name}-other").rename(path)
        time.sleep(1.1)
        assert read(cache) == [2, ROWS]

    def test_file_under_another_name_has_its_own_values(self, path):
        caches = [opened(path), opened(f"{path}-other")]
        for number, cache in enumerate(caches):
            cache.set("key", [number, ROWS])
        assert [read(cache) for cache in caches] == [[0, ROWS], [1, ROWS]]


class TestBounds:
    @pytest.mark.parametrize("capacity", [20_000, 200_000])
    def test_memory_is_bounded(self, path, capacity):
        cache = opened(path, OBJECT_CACHE=capacity)
        for number in range(500):
            cache.set(f"key-{number}", [number, ROWS], None)
        for _ in range(3):
            for number in range(500):
                assert cache.get(f"key-{number}") == [number, ROWS]
        assert capacity / 2 < cache.stats().object_memory <= capacity

    @pytest.mark.parametrize("nothing", [0, None, "0B"])
    def test_it_can_be_turned_off(self, path, nothing):
        cache = opened(path, OBJECT_CACHE=nothing)
        cache.set("key", ROWS)
        cache.set("text", "x" * 1000)
        assert read(cache, 5) == ROWS
        assert cache.get("text") is not cache.get("text")
        assert (cache.stats().object_entries, cache.stats().object_hits) == (0, 0)

    def test_large_value_is_not_kept(self, path):
        cache = opened(path, OBJECT_CACHE="100KB")
        cache.set("key", ["x" * 20_000])
        read(cache, 5)
        cache.set("text", "x" * 20_000)
        assert cache.get("text") is not cache.get("text")
        assert cache.stats().object_entries == 0

    def test_value_that_is_large_as_objects_is_not_kept(self, path):
        cache = opened(path, OBJECT_CACHE="100KB")
        cache.set("key", [[] for _ in range(1000)])
        read(cache, 5)
        assert cache.stats().object_entries == 0

    def test_clear_empties_it(self, cache):
        cache.set("key", ROWS)
        read(cache)
        cache.clear()
        assert (cache.stats().object_entries, cache.stats().object_memory) == (0, 0)

    def test_reset_stats_resets_the_hits(self, cache):
        cache.set("key", ROWS)
        read(cache)
        cache.reset_stats()
        assert (cache.stats().object_hits, cache.stats().object_entries) == (0, 1)

    @pytest.mark.parametrize("wrong", [-1, "many", 1.5, True, "8XB"])
    def test_wrong_option_is_an_error(self, path, wrong):
        with pytest.raises(
            ImproperlyConfigured, match=r'OPTIONS\["OBJECT_CACHE"\] is .*; expected a whole number'
        ):
            opened(path, OBJECT_CACHE=wrong)

    def test_assignment_takes_effect(self, cache):
        cache.set("key", ROWS)
        read(cache)
        cache._object_cache = 0
        read(cache)
        assert cache.stats().object_hits == 1


class TestForksAndThreads:
    def test_child_uses_what_it_inherits(self, cache):
        cache.set("key", ROWS)
        read(cache)

        def child():
            before = cache.stats().object_hits
            assert cache.get("key") == ROWS
            assert cache.stats().object_hits == before + 1
            cache.set("key", [2, ROWS])
            assert read(cache) == [2, ROWS]

        in_a_child(child)
        assert read(cache) == [2, ROWS]

    def test_forks_while_threads_read(self, cache):
        for number in range(20):
            cache.set(f"key-{number}", [number, ROWS])
        stop = threading.Event()
        wrong = []

        def reader():
            while not stop.is_set():
                found = [cache.get(f"key-{number}") for number in range(20)]
                if found != [[number, ROWS] for number in range(20)]:
                    wrong.append(found)

        threads = [threading.Thread(target=reader) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(20):
                in_a_child(lambda: [read(cache) for _ in range(3)])
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert not wrong

    def test_threads_read_what_others_write(self, cache):
        cache.set("key", [0, ROWS])
        wrong = []

        def reader():
            last = 0
            while last < 300:
                found = cache.get("key")
                if found[0] < last or found[1] != ROWS:
                    wrong.append((last, found))
                last = max(last, found[0])
                found[1].clear()

        readers = [threading.Thread(target=reader) for _ in range(3)]
        for thread in readers:
            thread.start()
        for number in range(1, 301):
            cache.set("key", [number, ROWS])
        for thread in readers:
            thread.join()
        assert not wrong


def test_reducers_of_copyreg_are_called_at_set_only(cache):
    calls = []

    class Plain:
        pass

    def reduce(value):
        calls.append(value)
        return list, ()

    copyreg.pickle(Plain, reduce)
    try:
        cache.set("key", [Plain()])
        assert read(cache) == [[]]
    finally:
        del copyreg.dispatch_table[Plain]
    assert len(calls) == 1
