"""One cache of several processes: entries, counts, statistics and locks."""

import contextlib
import multiprocessing
import os
import signal
import sys
import time

import pytest

from nearcache.django import LockNotOwnedError
from support.shared_files import MIB, opened, python
from support.threads import running_thread

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="SharedCache is for Linux")


@contextlib.contextmanager
def forked(work, *arguments):
    """Run a function in a forked child meanwhile; fail if it fails."""
    child = multiprocessing.get_context("fork").Process(target=work, args=arguments, daemon=True)
    child.start()
    yield child
    child.join(120)
    assert child.exitcode == 0


class TestProcesses:
    def test_another_program_reads_what_was_stored(self, path):
        cache = opened(path)
        cache.set_many({"text": "värde", "list": [1, {"a": None}], "number": 7})
        output = python(
            """
            cache = opened(path)
            print(cache.get("text"), cache.get("list"), cache.incr("number"), cache.add("text", 1))
            cache.set("back", b"bytes", 100)
            """,
            path,
        )
        assert output == "värde [1, {'a': None}] 8 False"
        assert cache.get("number") == 8
        assert (cache.get("back"), cache.ttl("back")) == (b"bytes", 100)

    def test_entries_outlive_all_processes(self, path):
        python("opened(path).set('key', 'value', None)", path)
        assert python("print(opened(path).get('key'))", path) == "value"
        assert opened(path).get("key") == "value"

    @pytest.mark.parametrize("method", ["fork", "spawn"])
    def test_no_increment_is_lost(self, path, method):
        cache = opened(path)
        cache.set("count", 0)
        context = multiprocessing.get_context(method)
        workers = [context.Process(target=increment, args=(str(path), 50_000)) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(120)
        assert [worker.exitcode for worker in workers] == [0] * 4
        assert cache.get("count") == 200_000

    def test_no_sum_made_in_python_is_lost(self, path):
        cache = opened(path)
        cache.set("count", 0.5)
        with forked(increment, str(path), 2000), forked(increment, str(path), 2000):
            increment(str(path), 2000)
        assert cache.get("count") == 6000.5

    def test_inherited_handles_work_after_a_fork(self, path):
        cache = opened(path)

        def child():
            assert cache.get("key") == "parent's"
            cache.set("key", "child's")
            assert cache.incr("n") == 2

        cache.set("key", "parent's")
        cache.set("n", 1)
        with forked(child):
            pass
        assert (cache.get("key"), cache.get("n")) == ("child's", 2)

    def test_statistics_cover_all_processes(self, path):
        cache = opened(path)
        cache.set("key", 1)
        cache.get("key")
        python("cache = opened(path); cache.get('key'), cache.get('none'), cache.set('two', 2)", path)
        stats = cache.stats()
        assert (stats.hits, stats.misses, stats.sets, stats.entries) == (2, 1, 2, 2)
        assert 0 < stats.memory < 1000
        assert (stats.max_memory, stats.max_entries) == (MIB, None)
        assert (stats.recoveries, stats.damages, stats.timeouts, stats.unreadable) == (0, 0, 0, 0)
        assert 0 <= stats.age < 100
        assert "unreadable=0" in repr(stats)

    def test_file_stays_valid_if_writers_are_killed(self, path):
        cache = opened(path)
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            child = multiprocessing.get_context("fork").Process(
                target=write_for_ever, args=(str(path),), daemon=True
            )
            child.start()
            time.sleep(0.03)
            os.kill(child.pid, signal.SIGKILL)
            child.join()
            for key, value in cache.get_many([f"key{n}" for n in range(100)]).items():
                assert value == key * (len(value) // len(key))
            cache.set("mine", 1)
        cache.verify()

    def test_threads_run_while_one_waits_for_a_stopped_process(self, path):
        cache = opened(path)
        refused = []
        for _ in range(200):
            child = multiprocessing.get_context("fork").Process(
                target=write_for_ever, args=(str(path),), daemon=True
            )
            child.start()
            time.sleep(0.02)
            os.kill(child.pid, signal.SIGSTOP)
            try:
                cache.set("mine", 1)
            except TimeoutError as error:
                refused.append(str(error))
                assert cache.get("nothing") is None  # reads go on
                with running_thread(0.01) as ran, pytest.raises(TimeoutError):
                    cache.set("mine", 1)
                assert len(ran) > 5
            finally:
                os.kill(child.pid, signal.SIGKILL)
                child.join()
            if refused:
                break
        cache.set("mine", 2)
        assert cache.get("mine") == 2
        if not refused:
            pytest.skip("no process was ever stopped with the lock in hand")
        assert str(path) in refused[0]
        assert "waiting for a lock that another process" in refused[0]
        assert cache.stats().timeouts == 2


def increment(path, times):
    cache = opened(path)
    for _ in range(times):
        cache.incr("count")


def write_for_ever(path):
    cache = opened(path)
    while True:
        for n in range(100):
            cache.set(f"key{n}", f"key{n}" * (n * 10 + 1))


class TestLocks:
    def test_excludes_other_processes(self, path):
        cache = opened(path)
        with cache.lock("lock"):
            assert python("print(opened(path).lock('lock').acquire(blocking=False))", path) == "False"
        assert python("print(opened(path).lock('lock').acquire(blocking=False))", path) == "True"

    def test_is_free_after_its_holder_died(self, path):
        cache = opened(path)
        child = multiprocessing.get_context("fork").Process(target=hold, args=(str(path),), daemon=True)
        child.start()
        deadline = time.monotonic() + 60
        while not cache.lock("lock").locked() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not cache.lock("lock").acquire(blocking=False)
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        lock = cache.lock("lock", timeout=50)
        assert lock.acquire(blocking=False)
        assert not cache.lock("lock").acquire(blocking=False)
        assert cache.ttl("lock") == 50
        lock.release()

    def test_is_lost_if_its_entry_is_removed(self, path):
        cache = opened(path)
        lock = cache.lock("lock")
        lock.acquire()
        cache.clear()
        with pytest.raises(LockNotOwnedError):
            lock.release()

    def test_counts_under_a_lock_are_exact(self, path):
        cache = opened(path)
        cache.set("n", 0)
        with forked(add_under_lock, str(path)), forked(add_under_lock, str(path)):
            add_under_lock(str(path))
        assert cache.get("n") == 300


def hold(path):
    opened(path).lock("lock").acquire()
    time.sleep(100)


def add_under_lock(path):
    cache = opened(path)
    for _ in range(100):
        with cache.lock("lock", sleep=0.001):
            cache.set("n", cache.get("n") + 1)
