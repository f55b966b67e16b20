"""`get_or_set` of several processes and machines with one server: one of them computes."""

import asyncio
import contextlib
import os
import signal
import threading
import time
import uuid

import pytest

from nearcache.django.single_flight.call import WAIT
from support.flight_processes import FORK, LONG, Counted, Leader, process, waiting
from support.flights import Calling
from support.redis_servers.messages import REPLY, REQUEST
from support.redis_servers.waiting import wait_until
from support.tiered import cluster_url

LOCK = ":nearcache-lock:{:1:key}"


@pytest.fixture
def counted(tmp_path):
    return Counted(tmp_path / "computations")


@pytest.fixture(autouse=True)
def own_directory(tmp_path, monkeypatch):
    """Let each test have a file of flights of its own."""
    monkeypatch.setattr("nearcache.django.location.SHARED_MEMORY", tmp_path)


@pytest.fixture(params=[None, "local", "shared"])
def cache(request, make_tiered, server):
    return make_tiered(server.url, NEAR=request.param, SOCKET_TIMEOUT=10)


@pytest.fixture
def machine(make_tiered, server, shared_memory):
    """Return a function that makes the cache of a new machine."""

    def machine(url=server.url, **options):
        location = str(shared_memory / f"near-{uuid.uuid4().hex}")
        options = {"GET_OR_SET": {"distributed": True}, "SOCKET_TIMEOUT": 10, **options}
        return make_tiered(url, NEAR="shared", NEAR_LOCATION=location, **options)

    return machine


@pytest.fixture
def two(machine):
    """Return the caches of two machines."""
    return machine(), machine()


def ask_in_threads(cache, keys, counted, count, **options):
    """Call `get_or_set` for each key in several threads; return the distinct answers."""
    answers, kept = set(), {"lock_timeout": LONG, **options}

    def ask():
        for key in keys:
            answers.add((key, cache.get_or_set(key, lambda key=key: counted(key.upper()), LONG, **kept)))

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_eight_threads_of_eight_processes_compute_each_key_once(cache, counted):
    keys = [f"key-{number}" for number in range(5)]
    start, results = FORK.Barrier(8), FORK.Queue()

    def ask():
        start.wait()
        results.put(ask_in_threads(cache, keys, counted, 8))

    with contextlib.ExitStack() as children:
        for _ in range(8):
            children.enter_context(process(ask))
        answers = [results.get(timeout=LONG) for _ in range(8)]
    assert answers == [{(key, key.upper()) for key in keys}] * 8
    assert counted.number == len(keys)


def test_a_thousand_tasks_compute_once(cache, counted):
    async def main():
        calls = [cache.aget_or_set("key", lambda: counted.task("value"), LONG) for _ in range(1000)]
        return await asyncio.gather(*calls)

    assert asyncio.run(main()) == ["value"] * 1000
    assert counted.number == 1


class TestLeaderInAnotherProcess:
    def test_returns_a_value_to_the_waiters(self, cache, counted):
        with Leader(cache) as leader, waiting(cache, lambda: counted("own")) as values:
            assert leader.finish() == ("value", "leader's")
        assert (values, counted.number) == (["leader's"], 0)
        assert (cache.stats().flights, cache.stats().waits) == (0, 1)

    def test_is_killed(self, cache, counted):
        with Leader(cache) as leader, waiting(cache, lambda: counted("own")) as values:
            leader.child.kill()
        assert (values, counted.number) == (["own"], 1)
        assert cache.get("key") == "own"

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
            os.kill(leader.child.pid, signal.SIGSTOP)
            assert cache.get_or_set("key", lambda: counted("own"), None, lock_timeout=0.2) == "own"
            os.kill(leader.child.pid, signal.SIGCONT)
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

    def test_does_not_block_an_event_loop_that_waits(self, cache):
        async def main(leader):
            task = asyncio.create_task(cache.aget_or_set("key", lambda: 1 / 0, None))
            for _ in range(50):
                await asyncio.sleep(0.001)
            assert not task.done()
            await asyncio.to_thread(leader.finish)
            return await task

        with Leader(cache) as leader:
            assert asyncio.run(main(leader)) == "leader's"


class TestWrittenMeanwhile:
    """This process writes the key while another one computes."""

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
            cache.delete_many(["key"])
            assert cache.get_or_set("key", lambda: counted("new"), None) == "new"
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
            assert leader.finish() == ("value", "leader's")
        assert cache.get("key") is None

    def test_by_a_process_that_has_not_missed_a_key(self, cache):
        with Leader(cache) as leader:
            with process(cache.delete, "key") as child:
                child.join()
            assert leader.finish() == ("value", "leader's")
        assert cache.get("key") is None

    def test_by_the_leader_itself(self, cache):
        def compute():
            cache.delete("key")
            return "value"

        assert cache.get_or_set("key", compute, None) == "value"
        assert cache.get("key") is None

    def test_by_the_leader_in_a_task(self, cache):
        async def compute():
            await cache.aset("key", "set")
            return "value"

        assert asyncio.run(cache.aget_or_set("key", compute, None)) == "set"


def test_a_leader_that_asks_for_its_own_key_computes_at_once(cache):
    def inner():
        return "inner"

    assert (
        cache.get_or_set("key", lambda: cache.get_or_set("key", inner, None) + " outer", None)
        == "inner outer"
    )
    assert cache.get("key") == "inner outer"


def compute_within_a_flight(cache, **options):
    """Compute "a", which asks for "b" with these options, which asks for "a"; return the value."""

    def compute_b():
        return "b of " + cache.get_or_set("a", lambda: "inner a", lock_timeout=LONG)

    def compute_a():
        return "a of " + cache.get_or_set("b", compute_b, **options)

    return Calling(cache.get_or_set, "a", compute_a).result


def test_a_leader_that_computes_early_for_a_flight_does_not_wait_for_it(cache):
    cache.get_or_set("b", lambda: time.sleep(0.001) or "old b", early=1)
    assert compute_within_a_flight(cache, early=1e9) == "a of b of inner a"


def test_a_task_that_computes_early_for_a_flight_does_not_wait_for_it(cache):
    cache.get_or_set("b", lambda: time.sleep(0.001) or "old b", early=1)

    async def compute_b():
        return "b of " + await cache.aget_or_set("a", lambda: "inner a", lock_timeout=LONG)

    async def compute_a():
        return "a of " + await cache.aget_or_set("b", compute_b, early=1e9)

    value = Calling(lambda: asyncio.run(cache.aget_or_set("a", compute_a)))
    assert value.result == "a of b of inner a"


@pytest.mark.overtakes
def test_a_leader_that_overtakes_for_a_flight_does_not_wait_for_it(cache):
    with Leader(cache, key="b"):
        assert compute_within_a_flight(cache, lock_timeout=0) == "a of b of inner a"


def test_a_long_key_has_a_flight_of_the_process(cache, counted):
    with pytest.warns(Warning, match="memcached"):
        answers = ask_in_threads(cache, ["k" * 3000], counted, 8)
    assert answers == {("k" * 3000, "K" * 3000)}
    assert counted.number == 1


def test_a_refresh_replaces_the_value(cache):
    cache.set("key", "old")
    assert cache._refresh("key", lambda: "new") == "new"
    assert cache.get("key", fresh=True) == "new"
    assert asyncio.run(cache._arefresh("key", lambda: "newer")) == "newer"
    assert cache.get("key", fresh=True) == "newer"


def test_where_there_is_no_file_the_process_is_the_scope(make_tiered, server, tmp_path, counted, caplog):
    cache = make_tiered(server.url, NEAR=None, KEY_PREFIX="no-file")
    path = next(tmp_path.glob("nearcache-*"))
    path.rmdir()
    path.write_text("not a directory")
    keys = ["key"]
    assert ask_in_threads(cache, keys, counted, 8) == {("key", "KEY")}
    cache.delete("key")
    assert ask_in_threads(cache, keys, counted, 8) == {("key", "KEY")}
    assert counted.number == 2
    messages = [record.getMessage() for record in caplog.records]
    assert len([message for message in messages if "file of flights" in message]) == 1


@pytest.fixture
def without_directory(tmp_path, monkeypatch):
    """Let there be no place for the files of this machine."""
    monkeypatch.setattr("nearcache.django.location.SHARED_MEMORY", tmp_path / "missing")


@pytest.mark.usefixtures("without_directory")
def test_where_there_is_no_directory_the_process_is_the_scope(make_tiered, server, counted, caplog):
    cache = make_tiered(server.url, NEAR=None)
    make_tiered(server.url, NEAR=None)
    assert ask_in_threads(cache, ["key"], counted, 8) == {("key", "KEY")}
    assert counted.number == 1
    messages = [record.getMessage() for record in caplog.records]
    assert len([message for message in messages if "no directory" in message]) == 1


@pytest.mark.parametrize("options", [{}, {"stale": LONG}])
def test_a_value_that_comes_after_a_deletion_is_taken_back(make_tiered, server, proxied, options):
    cache = make_tiered(proxied.url, NEAR=None, SOCKET_TIMEOUT=10)
    command = b"EVAL" if options else b"SET"
    with proxied.hold(REQUEST, command=command) as held:
        values = []
        thread = threading.Thread(
            target=lambda: values.append(cache.get_or_set("key", lambda: "old", LONG, **options))
        )
        thread.start()
        held.wait_seen(1)
        # The flight was looked at, but the value is not on the server yet.
        cache.delete("key")
        held.release()
        thread.join()
    assert values == ["old"]
    wait_until(lambda: server.command("DBSIZE") == 0, "a value that was taken back")


class TestServerDown:
    def test_the_error_is_raised(self, make_tiered, server):
        cache = make_tiered(server.url, NEAR=None)
        server.kill()
        try:
            with pytest.raises(ConnectionError):
                cache.get_or_set("key", lambda: "value", distributed=True)
        finally:
            server.start()

    def test_each_caller_computes_if_errors_are_misses(self, make_tiered, server):
        cache = make_tiered(server.url, NEAR=None, ON_ERROR="miss")
        server.kill()
        try:
            for distributed in (False, True):
                assert cache.get_or_set("key", lambda: "value", distributed=distributed, stale=5) == "value"
                value = asyncio.run(cache.aget_or_set("key", lambda: "value", distributed=distributed))
                assert value == "value"
        finally:
            server.start()


class TestDistributed:
    def test_one_machine_computes(self, two, counted):
        with contextlib.ExitStack() as children:
            start, results = FORK.Barrier(4), FORK.Queue()

            def ask(cache):
                start.wait()
                results.put(ask_in_threads(cache, ["a", "b"], counted, 4))

            for cache in two * 2:
                children.enter_context(process(ask, cache))
            answers = [results.get(timeout=LONG) for _ in range(4)]
        assert answers == [{("a", "A"), ("b", "B")}] * 4
        assert counted.number == 2

    def test_tasks_of_two_machines_compute_once(self, two, counted):
        async def main():
            calls = [
                cache.aget_or_set("key", lambda: counted.task("value"), LONG)
                for cache in two
                for _ in range(100)
            ]
            return await asyncio.gather(*calls)

        assert asyncio.run(main()) == ["value"] * 200
        assert counted.number == 1

    def test_without_it_each_machine_computes(self, two, counted):
        with Leader(two[0], distributed=False):
            assert two[1].get_or_set("key", lambda: counted("own"), None, distributed=False) == "own"
        assert counted.number == 1

    def test_a_killed_leader_is_followed_when_its_lock_ends(self, two, counted, server):
        with Leader(two[0], lock_timeout=1) as leader:
            assert 0 < server.command("PTTL", LOCK) <= 1000
            leader.child.kill()
            # It does not overtake before the end of the test.
            call = Calling(two[1].get_or_set, "key", lambda: counted("own"), None, lock_timeout=2 * LONG)
            assert call.result == "own"
        assert counted.number == 1

    def test_a_lock_does_not_end_while_its_holder_computes(self, two, server):
        with Leader(two[0], lock_timeout=1) as leader:
            token = server.command("GET", LOCK)
            time.sleep(1.5)
            assert server.command("GET", LOCK) == token
            assert leader.finish() == ("value", "leader's")
        assert server.command("EXISTS", LOCK) == 0
        assert two[1].get("key") == "leader's"

    def test_a_lock_is_released_if_the_leader_raises(self, two, server):
        with pytest.raises(ZeroDivisionError):
            two[0].get_or_set("key", lambda: 1 / 0)
        wait_until(lambda: server.command("EXISTS", LOCK) == 0, "a released lock")
        assert two[1].get_or_set("key", lambda: "own") == "own"

    def test_a_lock_is_released_if_the_value_is_not_stored(self, two, server):
        assert two[0].get_or_set("key", lambda: "value", store_if=lambda _: False) == "value"
        wait_until(lambda: server.command("EXISTS", LOCK) == 0, "a released lock")

    def test_a_lock_is_released_by_a_cancelled_task(self, two, server):
        async def main():
            began = asyncio.Event()

            async def compute():
                began.set()
                await asyncio.sleep(LONG)

            task = asyncio.create_task(two[0].aget_or_set("key", compute))
            await began.wait()
            assert server.command("EXISTS", LOCK) == 1
            task.cancel()
            await asyncio.wait([task])

        asyncio.run(main())
        wait_until(lambda: server.command("EXISTS", LOCK) == 0, "a released lock")

    def test_a_lock_is_released_if_nobody_waits_for_it_any_more(self, machine, server, proxied):
        cache = machine(proxied.url)

        async def main():
            with proxied.hold(REPLY, command=b"SET") as held:
                asked = proxied.watch(REQUEST, command=b"SET")
                task = asyncio.create_task(cache.aget_or_set("key", lambda: "value"))
                await asyncio.to_thread(asked.wait_seen, 1)
                task.cancel()
                await asyncio.wait([task])
                held.release()

        asyncio.run(main())
        wait_until(lambda: server.command("EXISTS", LOCK) == 0, "a released lock")

    def test_a_leader_that_forks_keeps_its_lock(self, two, server):
        def compute():
            child = os.fork()
            if child == 0:
                return "child's"
            os.waitpid(child, 0)
            assert server.command("EXISTS", LOCK) == 1
            return "parent's"

        parent = os.getpid()
        value = two[0].get_or_set("key", compute)
        if os.getpid() != parent:
            os._exit(0)
        assert (value, two[1].get("key")) == ("parent's", "parent's")

    def test_a_key_deleted_by_another_machine_is_not_stored(self, two):
        with Leader(two[0]) as leader:
            two[1].delete("key")
            assert leader.finish() == ("value", "leader's")
        assert two[1].get("key") is None

    def test_a_key_deleted_by_a_pattern_on_another_machine_is_not_stored(self, two):
        with Leader(two[0]) as leader, Leader(two[0], key="other") as other:
            assert two[1].delete_pattern("k*") == 0
            assert leader.finish() == other.finish() == ("value", "leader's")
        assert (two[1].get("key"), two[1].get("other")) == (None, "leader's")

    def test_a_value_whose_lock_was_evicted_is_not_stored(self, two, server):
        with Leader(two[0]) as leader:
            server.command("DEL", LOCK)
            assert leader.finish() == ("value", "leader's")
        assert two[1].get("key") is None

    def test_a_leader_that_takes_too_long_is_overtaken(self, two, counted):
        with Leader(two[0]) as leader:
            assert two[1].get_or_set("key", lambda: counted("own"), None, lock_timeout=0.2) == "own"
            assert leader.finish() == ("value", "own")
        assert two[0].get("key") == "own"

    def test_an_old_value_is_returned_while_another_machine_computes(self, two, server):
        two[0].get_or_set("key", lambda: "old", 0.05, stale=LONG)
        wait_until(lambda: server.command("EXISTS", ":1:key") == 0, "an expired key")
        with Leader(two[0], stale=LONG) as leader:
            assert two[1].get_or_set("key", lambda: 1 / 0, stale=LONG) == "old"
            assert leader.finish() == ("value", "leader's")

    def test_a_leader_that_asks_for_its_own_key_computes_at_once(self, two):
        cache = two[0]
        value = cache.get_or_set("key", lambda: cache.get_or_set("key", lambda: "inner") + " outer")
        assert value == "inner outer"
        assert two[1].get("key") == "inner outer"

    def test_a_refresh_takes_the_lock(self, two):
        with Leader(two[0]) as leader:
            assert two[1]._refresh("key", lambda: "new") == "new"
            assert leader.finish() == ("value", "new")

    def test_many_keys(self, two, counted):
        def compute(keys):
            return {key: counted(key.upper(), 0) for key in keys}

        with Leader(two[0], key="b") as leader:
            values = FORK.Queue()
            with process(lambda: values.put(two[1].get_or_set_many(["a", "b", "c"], compute, LONG))):
                wait_until(lambda: two[0].get("c") == "C", "the other keys")
                leader.finish()
                assert values.get(timeout=LONG) == {"a": "A", "b": "leader's", "c": "C"}
        assert counted.number == 2


@pytest.mark.parametrize("key", ["key", "a{tag}b", "a{}b", "a}b{"])
def test_in_a_cluster(machine, cluster, monkeypatch, key):
    caches = [machine(cluster_url(cluster)) for _ in range(2)]
    options = {"stale": LONG, "early": 0.001}
    lock_flight, answers, answered = caches[1]._lock_flight, [], threading.Event()

    def note_answer(*arguments):
        step = lock_flight(*arguments)
        answers.append(step[0])
        answered.set()
        return step

    monkeypatch.setattr(caches[1], "_lock_flight", note_answer)
    with Leader(caches[0], key=key, **options) as leader:
        call = Calling(caches[1].get_or_set, key, lambda: 1 / 0, None, **options)
        assert answered.wait(LONG)
        assert leader.finish() == ("value", "leader's")
        assert call.result == "leader's"
    # Machine 2 has found the lock.
    assert answers[0] == WAIT
    assert caches[0].keys("*") == [key]
    assert caches[0].delete(key)
    assert not caches[0].delete(key)
    with Leader(caches[0], key=key, **options) as leader:
        assert caches[1].delete_pattern("*") == 0
        leader.finish()
    assert caches[1].keys("*") == []
