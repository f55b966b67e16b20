"""A forked child has a copy of the cache that works at once, whatever other threads were doing with it."""

import contextlib
import faulthandler
import functools
import multiprocessing
import os
import signal
import sys
import threading
import traceback
import types
import uuid
import weakref
from decimal import Decimal

import pytest

from nearcache.django import LocalCache
from support.isolated import isolated

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

CHILD_TIMEOUT_SECONDS = 20
LOCATION = "fork"


def new_cache(**options):
    return LocalCache(LOCATION, {"TIMEOUT": None, "OPTIONS": options})


def in_child(work):
    """Fork, call ``work()`` in the child, and wait for it to end well."""
    child = os.fork()
    if child:
        wait_for(child)
        return
    status = 1
    try:
        # Not faulthandler's own timer, whose thread is not in the child.
        faulthandler.register(signal.SIGALRM, chain=True)
        signal.alarm(CHILD_TIMEOUT_SECONDS)
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def wait_for(child):
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, status


def use(cache, known):
    """Use everything in a child, where one key is known to be there."""
    assert cache.get(known) == "known"
    cache.set("number", 1)
    assert cache.incr("number", 41) == 42
    assert cache.add("added", [1, {2}])
    assert cache.get_many(["number", "added"]) == {"number": 42, "added": [1, {2}]}
    assert cache.touch("added", 100)
    assert cache.delete("added")
    stats = cache.stats()
    assert stats.entries >= 1
    # Not only are the locks free, what they guard is whole: all of it goes, and all can be filled again.
    cache.clear()
    assert (cache.stats().entries, cache.stats().memory) == (0, 0)
    for key in range(50):
        cache.set(key, str(key))
    assert all(cache.get(key) == str(key) for key in range(50))


@contextlib.contextmanager
def hammered(cache, threads=4):
    """Let threads use a cache all the while; give the numbers of rounds that they have done."""
    rounds = [0] * threads
    stop = threading.Event()

    def hammer(number):
        while not stop.is_set():
            key = f"{number}/{rounds[number] % 300}"
            cache.set(key, {"list": [key]})
            cache.get(key)
            cache.set("counter", 0)
            with contextlib.suppress(ValueError):
                cache.incr("counter")
            cache.get_many([key, "counter", "known"])
            cache.delete(key)
            rounds[number] += 1

    workers = [threading.Thread(target=hammer, args=[number]) for number in range(threads)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    for worker in workers:
        worker.start()
    try:
        while not all(rounds):
            pass
        yield rounds
    finally:
        stop.set()
        for worker in workers:
            worker.join()
        sys.setswitchinterval(interval)


class Forking:
    """A value that forks while it is being pickled."""

    def __reduce__(self):
        self.child = os.fork()
        return str, ("made in the parent" if self.child else "made in the child",)


class TestFork:
    @isolated
    def test_child_can_use_the_cache_at_once(self):
        cache = new_cache(MAX_ENTRIES=1000)
        cache.set("known", "known")
        with hammered(cache) as rounds:
            busy = 0
            for _ in range(200):
                before = sum(rounds)
                in_child(lambda: use(cache, "known"))
                busy += sum(rounds) > before
        # The threads went on between the forks.
        assert busy > 150

    @isolated
    def test_threads_may_fork_at_the_same_time(self):
        cache = new_cache(MAX_ENTRIES=1000)
        cache.set("known", "known")
        forked = []

        def fork():
            for _ in range(25):
                in_child(lambda: use(cache, "known"))
                forked.append(True)

        with hammered(cache):
            threads = [threading.Thread(target=fork) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert len(forked) == 100

    @isolated
    def test_child_can_start_threads(self):
        cache = new_cache(MAX_ENTRIES=1000)
        cache.set("known", "known")

        def work():
            with hammered(cache) as rounds:
                before = sum(rounds)
                assert cache.get("known") == "known"
                while sum(rounds) == before:
                    pass

        with hammered(cache):
            for _ in range(5):
                in_child(work)

    @isolated
    def test_children_can_fork(self):
        cache = new_cache()
        cache.set("depth", 0)

        def descend():
            if cache.incr("depth") < 5:
                in_child(descend)
            # The children's children did not count here.
            depth.append(cache.get("depth"))
            assert len(depth) == 1

        depth = []
        in_child(descend)
        assert cache.get("depth") == 0

    @isolated
    def test_every_store_can_be_used(self):
        caches = [LocalCache(f"store{number}", {"TIMEOUT": None}) for number in range(100)]
        for cache in caches:
            cache.set("known", "known")

        def work():
            for cache in caches:
                use(cache, "known")
            LocalCache("new store", {}).set("key", "value")
            assert LocalCache("new store", {}).get("key") == "value"

        in_child(work)


class SlowModule(types.ModuleType):
    """The module `uuid`, with an attribute that takes its time when it is looked up."""

    looking, go_on = threading.Event(), threading.Event()

    @property
    def UUID(self):  # noqa: N802
        self.looking.set()
        assert self.go_on.wait(CHILD_TIMEOUT_SECONDS)
        return uuid.UUID


class TestForkWithinTheFirstCall:
    @isolated
    def test_child_does_not_wait_for_an_import_of_another_thread(self):
        cache = new_cache()
        sys.modules["uuid"] = SlowModule("uuid")
        thread = threading.Thread(target=lambda: cache.set("id", [Decimal(1)]))
        thread.start()
        # Either it waits for the slow module, or no longer needs it and ends.
        while thread.is_alive() and not SlowModule.looking.wait(0.01):
            pass

        def work():
            # A new one: the thread that waits for the old one may have held its lock at the fork.
            SlowModule.go_on = threading.Event()
            SlowModule.go_on.set()
            cache.set("known", "known")
            cache.set("id", [Decimal(2)])
            assert cache.get("id") == [Decimal(2)]
            use(cache, "known")

        try:
            in_child(work)
        finally:
            SlowModule.go_on.set()
            thread.join()
        assert cache.get("id") == [Decimal(1)]


class TestSeparation:
    @isolated
    def test_parent_does_not_see_writes_of_the_child(self):
        cache = new_cache()
        cache.set_many({"changed": "parent's", "deleted": "parent's", "number": 1})

        def work():
            cache.set("changed", "child's")
            cache.set("new", "child's")
            cache.delete("deleted")
            assert cache.incr("number") == 2

        in_child(work)
        assert cache.get_many(["changed", "deleted", "number", "new"]) == {
            "changed": "parent's",
            "deleted": "parent's",
            "number": 1,
        }
        in_child(cache.clear)
        assert cache.get("changed") == "parent's"

    @isolated
    def test_child_does_not_see_writes_of_the_parent(self):
        cache = new_cache()
        cache.set("key", "before")
        written, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.read(written, 1)
            os._exit(0 if cache.get("key") == "before" and cache.get("new") is None else 1)
        cache.set("key", "after")
        cache.set("new", "after")
        os.write(write, b"x")
        wait_for(child)


class TestForkHandlers:
    @isolated
    def test_handlers_may_use_the_cache(self):
        cache = new_cache()
        cache.set("known", "known")
        cache.set_many(dict.fromkeys(["before", "parent", "child"], 0))
        os.register_at_fork(
            before=lambda: cache.incr("before"),
            after_in_parent=lambda: cache.incr("parent"),
            after_in_child=lambda: cache.incr("child"),
        )
        counted = ["before", "parent", "child"]

        def work(forks):
            assert cache.get_many(counted) == {"before": forks, "parent": forks - 1, "child": 1}
            use(cache, "known")

        with hammered(cache):
            for forks in range(1, 51):
                in_child(functools.partial(work, forks))
        assert cache.get_many(counted) == {"before": 50, "parent": 50, "child": 0}

    @isolated
    def test_handlers_may_clear_and_open_caches(self):
        cache = new_cache()
        called = []

        def handler(name):
            LocalCache(f"{name}{len(called)}", {}).set("key", name)
            cache.set("known", "known")
            cache.get_or_set(name, lambda: name)
            called.append(name)

        os.register_at_fork(
            before=lambda: (cache.clear(), handler("before")),
            after_in_parent=lambda: (cache.clear(), handler("parent")),
            after_in_child=lambda: (cache.clear(), handler("child")),
        )
        with hammered(cache):
            for _ in range(20):
                in_child(lambda: use(cache, "known"))
        assert called == ["before", "parent"] * 20


class TestForkWithinACall:
    @isolated
    def test_value_may_fork_when_it_is_pickled(self):
        cache = new_cache()
        cache.set("known", "known")
        value = Forking()
        cache.set("value", value)
        if value.child == 0:
            in_child_process = cache.get("value") == "made in the child"
            use(cache, "known")
            os._exit(0 if in_child_process else 1)
        wait_for(value.child)
        assert cache.get("value") == "made in the parent"

    @isolated
    def test_value_may_fork_when_it_is_evicted(self):
        cache = new_cache(MAX_ENTRIES=3)
        children = []
        value = uuid.uuid4()
        callback = weakref.ref(value, lambda _: children.append(os.fork()))
        cache.set("value", value)
        del value
        # In the child the eviction goes on, and so does this loop.
        for number in range(10):
            cache.set(f"filler{number}", "filler")
        assert callback() is None
        assert cache.stats().entries == 3
        (child,) = children
        if child == 0:
            cache._max_entries = 100
            cache.set("known", "known")
            use(cache, "known")
            os._exit(0)
        wait_for(child)
        assert cache.stats().entries == 3


def look(key, outcome):
    """Tell a parent process what this one finds."""
    cache = new_cache()
    found = cache.get(key)
    cache.set(key, "child's")
    cache.set("new", "child's")
    outcome.put((found, cache.get(key), cache.incr("number", 5) if cache.has_key("number") else None))


class TestMultiprocessing:
    @pytest.mark.parametrize(
        ("method", "expected"),
        [("fork", ("parent's", "child's", 6)), ("spawn", (None, "child's", None))],
    )
    @isolated
    def test_process_has_a_cache(self, method, expected):
        cache = new_cache()
        cache.set("key", "parent's")
        cache.set("number", 1)
        context = multiprocessing.get_context(method)
        outcome = context.SimpleQueue()
        with hammered(cache):
            process = context.Process(target=look, args=["key", outcome])
            process.start()
            found = outcome.get()
            process.join()
        assert process.exitcode == 0
        assert found == tuple(expected)
        assert cache.get_many(["key", "number", "new"]) == {"key": "parent's", "number": 1}

    @isolated
    def test_forked_pool_reads_entries_of_the_parent(self):
        cache = new_cache()
        cache.set_many({key: str(key) for key in range(100)})
        with hammered(cache), multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.map(cache_get, range(100)) == [str(key) for key in range(100)]


def cache_get(key):
    return new_cache().get(key)
