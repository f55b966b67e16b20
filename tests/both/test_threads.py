"""Many threads and one cache: operations are atomic, and counts are exact."""

import asyncio
import itertools
import random
import sys
import sysconfig
import tempfile
import threading
import time
import zlib
from collections import Counter
from contextlib import contextmanager, suppress
from contextvars import Context
from fractions import Fraction

import pytest
from django.conf import settings

from nearcache.django import LocalCache, SharedCache, cache, caches
from support.isolated import isolated

THREADS = 32
KINDS = ["local", "shared"] if sys.platform == "linux" else ["local"]
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
# Without the GIL a shard may be over its part for a moment, until another has given.
PASSING_EXCESS = THREADS if FREE_THREADED else 0


def run_in_threads(work, count=THREADS):
    """Call ``work(number)`` in so many threads at once, switching as often as can be; return the results."""
    barrier = threading.Barrier(count)
    results, errors = [None] * count, []

    def target(number):
        barrier.wait()
        try:
            results[number] = work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=target, args=[number]) for number in range(count)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    if errors:
        raise errors[0]
    return results


def taking_turns(items):
    """Give the items, and way to other threads now and then."""
    for position, item in enumerate(items):
        if position % 20 == 0:
            time.sleep(0.0001)  # no time at all would not always let others in
        yield item


def rotated(items, number):
    """Give the items, taking turns, in an order that lets each thread start with others."""
    start = number * len(items) // THREADS
    return taking_turns([*items[start:], *items[:start]])


class Pickled:
    """A number that only pickle can keep, and whose sums are made in Python."""

    additions = []  # noqa: RUF012 (of all of them)
    order, first_two = itertools.count(), threading.Barrier(2)

    def __init__(self, number):
        self.number = number

    def __add__(self, delta):
        self.additions.append(delta)
        if next(self.order) < 2:
            # Two threads add to the same number, so that one of the sums is made in vain.
            self.first_two.wait(60)
        time.sleep(0)
        return Pickled(self.number + delta)


def certified(key, number):
    """Return a value that proves to be the one made for this key: as text, tree, tuple, bytes or pickle."""
    text = f"{key}/{number}"
    seal = zlib.crc32(text.encode())
    filler = [seal] * (number % 50)
    return [
        f"{text}/{seal}",
        {"key": key, "number": number, "seal": seal, "filler": filler, "nested": [{"seal": seal}]},
        (key, number, seal, tuple(filler)),
        f"{text}/{seal}".encode() * (1 + number % 9),
        [key, Fraction(number), seal, filler],
    ][number % 5]


def is_certified(key, value):
    """Whether a value was made for this key, and is whole."""
    match value:
        case str():
            number = value.split("/")[1]
        case {"number": number}:
            pass
        case bytes():
            number = value.split(b"/")[1]
        case _:
            number = value[1]
    return value == certified(key, int(number))


class Hammer:
    """Calls every method at random on few keys, and checks all that comes back."""

    KEYS = tuple(f"key{number}" for number in range(12))
    WEIGHTS = {  # noqa: RUF012
        "get": 20,
        "set": 20,
        "add": 10,
        "get_many": 5,
        "set_many": 5,
        "get_or_set": 5,
        "delete": 5,
        "delete_many": 2,
        "touch": 5,
        "has_key": 5,
        "incr": 10,
        "expire": 3,
        "clear": 1,
        "stats": 5,
    }

    def __init__(self, cache, seed):
        self.cache = cache
        self.random = random.Random(seed)
        self.done = Counter()
        self.most_entries = 0
        self.most_memory = 0

    def go(self, calls):
        for name in self.random.choices(list(self.WEIGHTS), list(self.WEIGHTS.values()), k=calls):
            key = self.random.choice(self.KEYS)
            outcome = getattr(self, name)(key)
            self.done[name if outcome is None else (name, outcome)] += 1
        return self

    def value(self, key):
        return certified(key, self.random.randrange(10_000))

    def get(self, key):
        value = self.cache.get(key, self)
        assert value is self or is_certified(key, value), (key, value)
        return value is not self

    def set(self, key):
        assert self.cache.set(key, self.value(key)) is None

    def add(self, key):
        return self.cache.add(key, self.value(key))

    def get_many(self, key):
        found = self.cache.get_many(self.KEYS)
        for name, value in found.items():
            assert is_certified(name, value), (name, value)

    def set_many(self, key):
        assert self.cache.set_many({name: self.value(name) for name in (key, *self.KEYS[:3])}) == []

    def get_or_set(self, key):
        assert is_certified(key, self.cache.get_or_set(key, lambda: self.value(key)))

    def delete(self, key):
        return self.cache.delete(key)

    def delete_many(self, key):
        assert self.cache.delete_many([key, self.KEYS[0]]) is None

    def touch(self, key):
        return self.cache.touch(key, self.random.choice([None, 1000]))

    def has_key(self, key):
        return self.cache.has_key(key)

    def incr(self, key):
        try:
            return self.cache.incr(f"counter{len(key)}") > 0
        except ValueError:
            self.cache.set(f"counter{len(key)}", 0)
            return False

    def expire(self, key):
        self.cache.set(key, self.value(key), timeout=0.0001)

    def clear(self, key):
        assert self.cache.clear() is None

    def stats(self, key):
        stats = self.cache.stats()
        self.most_entries = max(self.most_entries, stats.entries)
        self.most_memory = max(self.most_memory, stats.memory)


def hammer(cache, calls=1500):
    """Let all threads hammer a cache; return what they did, together."""
    hammers = run_in_threads(lambda number: Hammer(cache, seed=number).go(calls))
    done = sum((hammer.done for hammer in hammers), Counter())
    assert done.total() == THREADS * calls
    for outcome in (True, False):
        for name in ("get", "add", "delete", "touch", "has_key", "incr"):
            assert done[name, outcome] > 0, (name, outcome, done)
    for name in ("set", "get_many", "set_many", "get_or_set", "delete_many", "expire", "clear", "stats"):
        assert done[name] > 0, (name, done)
    return hammers


@contextmanager
def opened(kind, **options):
    """Give a new cache of that kind in a process of its own: "local" or "shared"."""
    if kind == "local":
        yield LocalCache("", {"TIMEOUT": None, "OPTIONS": options})
        return
    with tempfile.TemporaryDirectory() as folder:
        yield SharedCache(f"{folder}/cache", {"TIMEOUT": None, "OPTIONS": options})


class TestEveryOperationAtOnce:
    @pytest.mark.parametrize("kind", KINDS)
    @isolated
    def test_values_are_consistent(self, kind):
        with opened(kind, MAX_MEMORY="1MB") as cache:
            hammer(cache, calls=500)
            if kind == "shared":
                assert cache.verify().torn == 0

    @pytest.mark.parametrize("kind", KINDS)
    @isolated
    def test_keys_timeouts_locks_and_versions_are_consistent(self, kind):
        with opened(kind) as cache:

            def work(number):
                for turn in taking_turns(range(60)):
                    key = f"own.{number}"
                    cache.set(key, certified(key, turn), 1000)
                    assert 0 < cache.ttl(key) <= 1000
                    assert 0 < cache.pttl(key) <= 1_001_000
                    assert cache.persist(key)
                    assert cache.ttl(key) is None
                    assert cache.expire(key, 500)
                    assert cache.expire_at(key, time.time() + 100)
                    assert is_certified(key, cache.get(key))
                    assert key in cache.keys("own.*")
                    assert cache.incr_version(key) == 2
                    assert cache.get(key) is None
                    assert is_certified(key, cache.get(key, version=2))
                    assert cache.delete_pattern(f"own.{number}", version=2) == 1
                    with cache.lock("lock", sleep=0.0001):
                        cache.set("counted", cache.get("counted", 0) + 1)

            run_in_threads(work, 8)
            assert cache.get("counted") == 8 * 60
            assert list(cache.iter_keys("*")) == ["counted"]

    @pytest.mark.parametrize("eviction", ["adaptive", "s3-fifo", "lru"])
    @isolated
    def test_values_are_consistent_while_entries_are_evicted(self, eviction):
        cache = LocalCache("", {"OPTIONS": {"MAX_ENTRIES": 6, "EVICTION": eviction}})
        hammers = hammer(cache)
        stats = cache.stats()
        assert 0 < max(hammer.most_entries for hammer in hammers) <= 6 + PASSING_EXCESS
        assert 0 <= stats.entries <= 6
        assert stats.evictions > 100
        assert stats.expirations > 0

    @isolated
    def test_values_are_consistent_while_memory_is_full(self):
        cache = LocalCache("", {"OPTIONS": {"MAX_MEMORY": 4096}})
        hammers = hammer(cache)
        stats = cache.stats()
        assert 0 < max(hammer.most_memory for hammer in hammers) <= 4096 * (1 + PASSING_EXCESS)
        assert 0 <= stats.memory <= 4096
        assert stats.evictions > 100

    @isolated
    def test_all_memory_is_freed(self):
        cache = LocalCache("", {})
        hammer(cache)
        cache.set("last", 1)
        assert cache.stats().memory > 0
        for key in (*Hammer.KEYS, "counter4", "counter5", "last"):
            cache.delete(key)
        stats = cache.stats()
        assert (stats.entries, stats.memory) == (0, 0)

    @isolated
    def test_settings_may_change_meanwhile(self):
        cache = LocalCache("", {"OPTIONS": {"MAX_ENTRIES": 6}})
        stop = threading.Event()
        changes = 0

        def change():
            nonlocal changes
            while not stop.is_set():
                changes += 1
                cache.version = changes % 3
                cache.key_prefix = f"prefix{changes % 4}"
                cache._max_entries = 3 + changes % 4

        changer = threading.Thread(target=change)
        changer.start()
        try:
            hammers = run_in_threads(lambda number: Hammer(cache, seed=number).go(1000))
        finally:
            stop.set()
            changer.join()
        assert changes > 10
        assert sum(hammer.done["get", True] for hammer in hammers) > 0
        assert cache.stats().entries <= 6


class TestIncr:
    @isolated
    def test_no_increment_is_lost(self):
        cache = LocalCache("", {"TIMEOUT": None})
        cache.set("counter", 0)
        sums = run_in_threads(lambda number: [cache.incr("counter") for _ in taking_turns(range(2000))])
        assert cache.get("counter") == THREADS * 2000
        # Each sum was given once, and the threads did take turns.
        assert sorted(itertools.chain(*sums)) == list(range(1, THREADS * 2000 + 1))
        assert any(last - first >= 2000 for first, *_, last in sums)

    @isolated
    def test_no_increment_is_lost_if_sums_are_made_in_python(self):
        cache = LocalCache("", {"TIMEOUT": None})
        cache.set("counter", Pickled(0))
        sums = run_in_threads(lambda number: [cache.incr("counter").number for _ in range(30)])
        assert cache.get("counter").number == THREADS * 30
        assert sorted(itertools.chain(*sums)) == list(range(1, THREADS * 30 + 1))
        # Some were made in vain, since another thread was faster.
        assert len(Pickled.additions) > THREADS * 30

    @isolated
    def test_ups_and_downs_cancel_out(self):
        cache = LocalCache("", {"TIMEOUT": None})
        cache.set("counter", 7)

        def up_and_down(number):
            for delta in range(200):
                cache.incr("counter", delta)
                cache.decr("counter", delta)
            return True

        assert all(run_in_threads(up_and_down))
        assert cache.get("counter") == 7

    @isolated
    def test_no_increment_of_event_loops_in_threads_is_lost(self):
        cache = LocalCache("", {"TIMEOUT": None})
        cache.set("counter", 0)

        async def increment():
            for _ in range(400):
                await asyncio.gather(cache.aincr("counter"), cache.aincr("counter", 2))

        run_in_threads(lambda number: asyncio.run(increment()), 8)
        assert cache.get("counter") == 8 * 400 * 3


class TestAdd:
    KEYS = range(1000)

    @isolated
    def test_one_thread_wins_each_key(self):
        cache = LocalCache("", {"TIMEOUT": None})
        wins = run_in_threads(
            lambda number: [key for key in rotated(self.KEYS, number) if cache.add(key, number)]
        )
        assert sum(map(bool, wins)) > 1
        assert sorted(itertools.chain(*wins)) == list(self.KEYS)
        for number, keys in enumerate(wins):
            assert all(cache.get(key) == number for key in keys)

    @isolated
    def test_one_thread_wins_each_pickled_key(self):
        cache = LocalCache("", {"TIMEOUT": None})
        wins = run_in_threads(lambda number: [key for key in range(50) if cache.add(key, Pickled(number))])
        assert sorted(itertools.chain(*wins)) == list(range(50))
        for number, keys in enumerate(wins):
            assert all(cache.get(key).number == number for key in keys)

    @isolated
    def test_a_lock_made_of_add_and_delete_excludes_others(self):
        cache = LocalCache("", {"TIMEOUT": None})
        inside, entered, refused, collisions = 0, 0, 0, 0

        def work(number):
            nonlocal inside, entered, refused, collisions
            for _ in range(300):
                if cache.add("lock", number):
                    inside += 1
                    entered += 1
                    time.sleep(0)
                    collisions += inside != 1
                    inside -= 1
                    assert cache.delete("lock")
                else:
                    refused += 1

        run_in_threads(work)
        assert entered > 0
        assert refused > 0
        assert (inside, collisions) == (0, 0)

    @isolated
    def test_get_or_set_returns_one_value_to_all_threads(self):
        cache = LocalCache("", {"TIMEOUT": None})
        seen = run_in_threads(
            lambda number: [cache.get_or_set(key, number) for key in taking_turns(range(3000))]
        )
        assert all(len(set(values)) == 1 for values in zip(*seen, strict=True))


class Changing:
    """A value whose collections its owner changes all the while, each by a rule that a copy of it shows."""

    def __init__(self):
        self.numbers, self.texts, self.members, self.pair = list(range(50)), {}, set(), ([], {"deep": []})
        self.value = {
            "numbers": self.numbers,
            "texts": self.texts,
            "members": self.members,
            "pair": self.pair,
        }

    def change(self, number):
        self.numbers.append(number)
        del self.numbers[0]
        self.texts[f"{number}"] = number
        self.texts.pop(f"{number - 30}", None)
        self.members.add((number, f"{number}"))
        self.members.discard((number - 30, f"{number - 30}"))
        flat, inner = self.pair
        flat.append(number)
        del flat[:-20]
        inner["deep"] = [number] * (number % 20)

    @staticmethod
    def check(got, *, pickled):
        """Fail unless each collection is as it was at one moment; then change the copy."""
        flat, inner = got["pair"]
        assert all(text == str(number) for text, number in got["texts"].items())
        assert all(text == str(number) for number, text in got["members"])
        # Without the GIL pickle itself looks at a list item by item.
        if not (pickled and FREE_THREADED):
            assert 50 <= len(got["numbers"]) <= 51
            for numbers in (got["numbers"], flat):
                assert numbers == list(range(numbers[0], numbers[-1] + 1)) if numbers else True
        assert len(set(inner["deep"])) <= 1
        for part in ("numbers", "texts", "members"):
            got[part].clear()


class TestValuesThatOthersChange:
    """What comes out is what the value was at some moment, and whole."""

    @pytest.mark.parametrize("kind", KINDS)
    @isolated
    def test_collections_are_stored_consistently(self, kind):
        changing, users = Changing(), 7
        ended = [False] * users

        def work(number):
            if number == users:
                for turn in itertools.takewhile(lambda _: not all(ended), itertools.count(50)):
                    changing.change(turn)
                return
            try:
                for turn in range(300):
                    key = f"key{turn % 3}"
                    # pickle raises if what it looks through changes, as it does for LocMemCache.
                    with suppress(RuntimeError, IndexError):
                        cache.set(key, changing.value)
                    if (got := cache.get(key)) is not None:
                        changing.check(got, pickled=kind == "shared")
                    time.sleep(0)
            finally:
                ended[number] = True

        with opened(kind) as cache:
            run_in_threads(work, users + 1)
            assert cache.stats().sets > 0

    @pytest.mark.parametrize("kind", KINDS)
    @isolated
    def test_attribute_names_of_many_threads_are_safe(self, kind):
        # Equal keys of dicts, each an object of its own, that come and go in all threads.
        with opened(kind) as cache:

            def work(number):
                for turn in taking_turns(range(300)):
                    value = {f"name{turn % 40}": number, "".join(["li", "teral"]): [turn]}
                    cache.set(f"key{number % 4}", value)
                    assert cache.get(f"key{number % 4}").keys() & {"literal"}

            run_in_threads(work)


class TestDelete:
    @isolated
    def test_one_thread_deletes_each_key(self):
        cache = LocalCache("", {"TIMEOUT": None})
        keys = range(1000)
        cache.set_many(dict.fromkeys(keys, "value"))
        deleted = run_in_threads(lambda number: [key for key in rotated(keys, number) if cache.delete(key)])
        assert sum(map(bool, deleted)) > 1
        assert sorted(itertools.chain(*deleted)) == list(keys)
        assert cache.stats().deletes == 1000

    @isolated
    def test_clear_during_writes_leaves_nothing(self):
        cache = LocalCache("", {"TIMEOUT": None})

        def work(number):
            for key in range(1, 201):
                cache.set(f"{number}/{key}", [key])
                if key % 50 == 0:
                    cache.clear()

        run_in_threads(work)
        assert cache.stats().sets == THREADS * 200
        assert cache.stats().deletes > 0
        cache.clear()
        assert (cache.stats().entries, cache.stats().memory) == (0, 0)


class TestStores:
    @isolated
    def test_threads_that_open_a_name_at_once_share_one_store(self):
        def open_and_count(number):
            for name in range(50):
                LocalCache(f"store{name}", {"TIMEOUT": None}).add("counter", 0)
                LocalCache(f"store{name}", {"TIMEOUT": None}).incr("counter")

        run_in_threads(open_and_count)
        assert [LocalCache(f"store{name}", {}).get("counter") for name in range(50)] == [THREADS] * 50

    @pytest.mark.skipif("shared" not in KINDS, reason="SharedCache is for Linux")
    @isolated
    def test_threads_that_open_a_file_at_once_share_it(self):
        options = {"TIMEOUT": None, "OPTIONS": {"MAX_MEMORY": "1MB"}}
        with tempfile.TemporaryDirectory() as folder:

            def open_and_count(number):
                for name in range(10):
                    SharedCache(f"{folder}/{name}", options).add("counter", 0)
                    SharedCache(f"{folder}/{name}", options).incr("counter")

            run_in_threads(open_and_count)
            counts = [SharedCache(f"{folder}/{name}", options).get("counter") for name in range(10)]
            assert counts == [THREADS] * 10


class TestStatsAndKeys:
    @pytest.mark.parametrize("kind", KINDS)
    @isolated
    def test_counts_and_keys_are_right_while_others_write(self, kind):
        with opened(kind, MAX_MEMORY="4MB") as cache:
            staying = {f"stays.{number}": number for number in range(20)}
            cache.set_many(staying)

            def work(number):
                for turn in taking_turns(range(150)):
                    if number % 2:
                        cache.set(f"passes.{number}.{turn % 10}", certified("", turn))
                        cache.delete(f"passes.{number}.{(turn + 5) % 10}")
                        continue
                    assert sorted(cache.iter_keys("stays.*")) == sorted(staying)
                    assert sorted(cache.keys("stays.*")) == sorted(staying)
                    assert cache.stats().entries >= 20
                    if turn % 50 == 0:
                        cache.reset_stats()
                        assert kind == "local" or cache.verify().torn == 0

            run_in_threads(work, 8)
            assert cache.get_many(staying) == staying


class TestProxies:
    """The objects ``cache`` and ``caches`` belong to all threads; each thread has its own connections."""

    @isolated
    def test_each_thread_finds_its_own_connection(self):
        local = {"BACKEND": "nearcache.django.LocalCache", "LOCATION": "proxies", "TIMEOUT": None}
        settings.configure(CACHES={alias: {**local, "KEY_PREFIX": alias} for alias in ("default", "other")})

        def work(number):
            for turn in taking_turns(range(300)):
                # Equal, but another object each time: the proxy's dictionary changes under the other threads.
                cache._alias = "".join(["def", "ault"])
                cache.set(number, turn)
                caches["other"].set(number, -turn)
                assert cache.get(number) == turn
                assert caches["other"].get(number) == -turn
                assert cache.get.__self__ is caches["default"]
                if turn % 100 == 99:
                    del caches["default"]
            return caches["default"]

        # Free-threaded Python starts threads in copies of this context, with its connections.
        connections = run_in_threads(lambda number: Context().run(work, number), 8)
        assert len(set(map(id, connections))) == 8
        assert caches["default"].get_many(range(8)) == dict.fromkeys(range(8), 299)

    @isolated
    def test_methods_may_be_replaced_meanwhile(self):
        settings.configure(CACHES={"default": {"BACKEND": "nearcache.django.LocalCache"}})
        cache.set("key", "stored")
        original = LocalCache.get
        answers = [set() for _ in range(8)]

        def work(number):
            for turn in taking_turns(range(300)):
                if number:
                    answers[number].add(cache.get("key"))
                elif turn % 2:
                    LocalCache.get = original
                else:
                    LocalCache.get = lambda self, key: "replaced"

        run_in_threads(work, 8)
        assert set().union(*answers) <= {"stored", "replaced"}
        LocalCache.get = original
        assert cache.get("key") == "stored"
