"""`get_or_set` of several processes with one SharedCache: one of them computes."""

import asyncio
import contextlib
import os
import signal
import sys
import threading
import time

import pytest

from nearcache.django.single_flight.call import WAIT
from support.flight_processes import FORK, LONG, Counted, Leader, process, waiting
from support.flights import leading
from support.shared_files import opened

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="SharedCache is for Linux")


@pytest.fixture
def counted(tmp_path):
    return Counted(tmp_path / "computations")


@pytest.fixture
def cache(path):
    return opened(path)


def test_threads_and_tasks_of_eight_processes_compute_each_key_once(cache, counted):
    keys = [f"key-{number}" for number in range(10)]
    start = FORK.Barrier(8)
    results = FORK.Queue()

    def threads():
        start.wait()
        values = []

        def ask():
            for key in keys:
                value = cache.get_or_set(key, lambda key=key: counted(key.upper()), None, lock_timeout=LONG)
                values.append(value)

        several = [threading.Thread(target=ask) for _ in range(16)]
        for thread in several:
            thread.start()
        for thread in several:
            thread.join()
        results.put(values == [key.upper() for key in keys] * 16 or sorted(set(values)))

    def tasks():
        start.wait()

        async def ask():
            return [
                await cache.aget_or_set(
                    key, lambda key=key: counted.task(key.upper()), None, lock_timeout=LONG
                )
                for key in keys
            ]

        async def main():
            return await asyncio.gather(*[ask() for _ in range(125)])

        results.put(asyncio.run(main()) == [[key.upper() for key in keys]] * 125)

    with contextlib.ExitStack() as children:
        for number in range(8):
            children.enter_context(process(tasks if number % 2 else threads))
        answers = [results.get(timeout=LONG) for _ in range(8)]
    # The threads of a process append in any order.
    assert all(answer is True or answer == sorted(key.upper() for key in keys) for answer in answers)
    assert counted.number == len(keys)


@contextlib.contextmanager
def watcher(cache):
    """Be the waiter of this process that looks at the file meanwhile, but do not look."""
    kind, wait, _ = cache._join("key", None, 0, None)
    assert kind == WAIT
    assert wait.looks
    yield
    wait.close()


class TestLeaderInAnotherProcess:
    def test_returns_a_value_to_the_waiters(self, cache, counted):
        with Leader(cache) as leader, waiting(cache, lambda: counted("own")) as values:
            assert leader.finish() == ("value", "leader's")
        assert (values, counted.number) == (["leader's"], 0)

    def test_is_killed(self, cache, counted):
        with Leader(cache) as leader, waiting(cache, lambda: counted("own")) as values:
            leader.child.kill()
        assert (values, counted.number) == (["own"], 1)
        assert cache.get("key") == "own"

    def test_is_killed_before_anybody_waits(self, cache, counted):
        with Leader(cache) as leader:
            leader.child.kill()
            leader.child.join()
            assert cache.get_or_set("key", lambda: counted("own"), None) == "own"

    def test_raises(self, cache, counted):
        with (
            Leader(cache, outcome=ZeroDivisionError) as leader,
            waiting(cache, lambda: counted("own")) as values,
        ):
            assert leader.finish() == ("raised", None)
        assert (values, counted.number) == (["own"], 1)

    @pytest.mark.overtakes
    def test_takes_too_long(self, cache, counted):
        with Leader(cache) as leader:
            leader.child.join(0)
            os.kill(leader.child.pid, signal.SIGSTOP)
            assert cache.get_or_set("key", lambda: counted("own"), None, lock_timeout=0.2) == "own"
            os.kill(leader.child.pid, signal.SIGCONT)
            # It was overtaken: what it has computed since is not stored.
            assert leader.finish() == ("value", "own")
        assert cache.get("key") == "own"

    def test_gives_up_in_a_cancelled_task(self, cache, counted):
        began, cancelled = FORK.Event(), FORK.Event()

        async def lead():
            async def compute():
                began.set()
                await asyncio.sleep(LONG)

            task = asyncio.create_task(cache.aget_or_set("key", compute, None))
            while not began.is_set():
                await asyncio.sleep(0.001)
            await asyncio.to_thread(cancelled.wait)
            task.cancel()
            await asyncio.wait([task])
            await asyncio.sleep(LONG)

        with process(lambda: asyncio.run(lead())):
            assert began.wait(LONG)
            with waiting(cache, lambda: counted("own")) as values:
                cancelled.set()
        assert values == ["own"]

    def test_is_noticed_by_a_thread_although_the_watcher_does_not_look(self, cache):
        with Leader(cache) as leader, watcher(cache), waiting(cache, lambda: "own") as values:
            leader.finish()
        assert values == ["leader's"]

    def test_is_noticed_by_a_task_although_the_watcher_does_not_look(self, cache):
        async def main(leader):
            task = asyncio.create_task(cache.aget_or_set("key", lambda: "own", lock_timeout=2 * LONG))
            await asyncio.sleep(0)
            await asyncio.to_thread(leader.finish)
            return await asyncio.wait_for(task, LONG)

        with Leader(cache) as leader, watcher(cache):
            assert asyncio.run(main(leader)) == "leader's"

    def test_has_its_flight_evicted(self, cache, counted):
        with Leader(cache), waiting(cache, lambda: counted("own")) as values:
            for number in range(3000):
                cache.set(f"other-{number}", b"x" * 2000)
        assert values == ["own"]

    def test_is_a_process_that_forked_from_this_one(self, cache, counted):
        def compute():
            child = os.fork()
            if child == 0:
                # Here the computation goes on, too; its value is not stored.
                return "child's"
            os.waitpid(child, 0)
            return "parent's"

        parent = os.getpid()
        value = cache.get_or_set("key", compute, None)
        if os.getpid() != parent:
            os._exit(0 if value == "child's" else 1)
        assert (value, cache.get("key")) == ("parent's", "parent's")


class TestWrittenMeanwhile:
    """Another process writes the key while this one computes."""

    def test_a_deleted_key_is_not_stored(self, cache):
        with Leader(cache) as leader:
            assert not cache.delete("key")
            assert leader.finish() == ("value", "leader's")
        assert cache.get("key") is None

    def test_a_key_deleted_by_a_pattern_is_not_stored(self, cache):
        with Leader(cache) as leader, Leader(cache, key="other") as other:
            assert cache.delete_pattern("k*") == 0
            assert leader.finish() == other.finish() == ("value", "leader's")
        assert (cache.get("key"), cache.get("other")) == (None, "leader's")

    def test_a_caller_after_the_deletion_does_not_get_the_old_value(self, cache, counted):
        with Leader(cache) as leader:
            cache.delete("key")
            assert cache.get_or_set("key", lambda: counted("new"), None) == "new"
            # As Django does, the leader returns what was stored meanwhile.
            assert leader.finish() == ("value", "new")
        assert cache.get("key") == "new"

    def test_a_value_that_was_set_stays(self, cache):
        with Leader(cache) as leader:
            cache.set("key", "set")
            assert leader.finish() == ("value", "set")
        assert cache.get("key") == "set"

    def test_a_clear_ends_the_flight(self, cache):
        with Leader(cache) as leader:
            cache.clear()
            leader.finish()
        assert cache.get("key") is None

    def test_the_key_counts_as_missing(self, cache):
        with Leader(cache) as leader:
            assert not cache.has_key("key")
            assert cache.ttl("key") == 0
            assert cache.keys("*") == []
            assert not cache.touch("key", 5)
            with pytest.raises(ValueError, match="key"):
                cache.incr("key")
            assert cache.add("key", 1)
            assert leader.finish() == ("value", 1)

    def test_waiters_of_its_process_wait_on_for_its_value(self, cache):
        with leading(cache):
            kind, wait, _ = cache._join("key", None, 0, None)
            assert kind == WAIT
            cache.delete("key")
            assert not wait.sleep(0)
            assert cache._outcome(wait) is None
            wait.close()


class TestStale:
    def test_is_returned_while_another_process_computes(self, cache):
        assert cache.get_or_set("key", lambda: "old", 0.01, stale=LONG) == "old"
        time.sleep(0.02)
        with Leader(cache, stale=LONG) as leader:
            assert cache.get_or_set("key", lambda: 1 / 0, None, stale=LONG) == "old"
            assert cache.get("key") is None
            assert leader.finish() == ("value", "leader's")
        assert cache.get_or_set("key", lambda: 1 / 0, None, stale=LONG) == "leader's"
        stats = cache.stats()
        assert (stats.stale_hits, stats.refreshes, stats.failed_refreshes) == (1, 1, 0)

    def test_is_not_for_a_caller_that_does_not_want_it(self, cache):
        cache.get_or_set("key", lambda: "old", 0.01, stale=LONG)
        time.sleep(0.02)
        with Leader(cache, stale=LONG) as leader, waiting(cache, lambda: "own") as values:
            leader.finish()
        assert values == ["leader's"]

    def test_is_kept_for_the_next_caller_if_the_leader_is_killed(self, cache, counted):
        cache.get_or_set("key", lambda: "old", 0.01, stale=LONG)
        time.sleep(0.02)
        with Leader(cache, stale=LONG) as leader:
            leader.child.kill()
            leader.child.join()
            with pytest.raises(SystemExit):
                cache.get_or_set("key", sys.exit, None, stale=LONG)
        assert cache.get_or_set("key", lambda: counted("new"), None, stale=LONG) == "new"
        assert counted.number == 1


def test_a_task_that_waits_for_another_process_does_not_block_its_event_loop(cache):
    async def main(leader):
        task = asyncio.create_task(cache.aget_or_set("key", lambda: 1 / 0, None))
        ticks = 0
        while ticks < 50:
            await asyncio.sleep(0.001)
            ticks += 1
        assert not task.done()
        await asyncio.to_thread(leader.finish)
        return await task

    with Leader(cache) as leader:
        assert asyncio.run(main(leader)) == "leader's"


@pytest.mark.overtakes
def test_processes_that_wait_for_each_other_end_with_the_timeout(cache):
    began, values = FORK.Barrier(2), FORK.Queue()

    def ask(first, second):
        def compute():
            began.wait()
            return first + cache.get_or_set(second, lambda: second, None, lock_timeout=0.3)

        values.put(cache.get_or_set(first, compute, None, lock_timeout=LONG))

    with process(ask, "a", "b"), process(ask, "b", "a"):
        both = sorted(values.get(timeout=LONG) for _ in range(2))
    assert [value[0] for value in both] == ["a", "b"]


def test_early_computation_is_done_by_one_process(cache):
    cache.get_or_set("key", lambda: time.sleep(0.01) or "old", LONG)
    with Leader(cache, early=1e9) as leader:
        assert cache.get_or_set("key", lambda: 1 / 0, None, early=1e9) == "old"
        assert leader.finish() == ("value", "leader's")
    assert cache.get("key") == "leader's"
