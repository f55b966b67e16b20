"""A server that is killed and restarted again and again under load.

NEARCACHE_RESTARTS sets how often. The long form is 100.
"""

import contextlib
import os
import threading
import time
from pathlib import Path

import pytest

from nearcache.django.errors import RemoteError
from support.cache_process import remote_stats
from support.redis_servers.standalone import Server
from support.redis_servers.waiting import wait_until

RESTARTS = int(os.environ.get("NEARCACHE_RESTARTS", "10"))
THREADS = 4
STALENESS = 0.3
CLOCK_TICK = 0.002
# How soon everybody is back.
BACK_SECONDS = 1.0
# For what takes its time otherwise; the breaker's longest pause is half of BACK_SECONDS.
SLACK_SECONDS = 0.5


class Load:
    """Threads that read and write; each keeps when it last succeeded."""

    def __init__(self, cache):
        # The last message of each kind. With hundreds of thousands of exceptions and their tracebacks, the
        # garbage collector would stop all threads for seconds.
        self.errors = {}
        self.calls = 0
        self.succeeded = [0.0] * THREADS
        # The longest call since the server is back.
        self.longest = [0.0] * THREADS
        self._cache = cache
        self._ends = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(number,)) for number in range(THREADS)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._ends.set()
        for thread in self._threads:
            thread.join()

    def _call(self, number):
        cache = self._cache
        calls = [
            lambda: cache.set(f"key-{number}", number),
            lambda: cache.get(f"key-{number}"),
            lambda: cache.get("kept"),
            lambda: cache.get_many([f"key-{other}" for other in range(THREADS)]),
            lambda: cache.add(f"add-{number}", 1),
            lambda: cache.delete(f"add-{number}"),
            lambda: cache.has_key(f"key-{number}"),
            lambda: cache.touch(f"key-{number}", 10),
        ]
        while not self._ends.is_set():
            for call in calls:
                self._try(number, call)
            self._try(number, lambda: self._probe(number))
            time.sleep(0.001)

    def _probe(self, number):
        """Write a value and read it: the server answers."""
        moment = time.monotonic()
        self._cache.set(f"probe-{number}", moment)
        if self._cache.get(f"probe-{number}", fresh=True) == moment:
            self.succeeded[number] = moment

    def _try(self, number, call):
        start = time.monotonic()
        try:
            call()
        except Exception as error:
            self.errors[type(error)] = str(error)
        self.calls += 1
        self.longest[number] = max(self.longest[number], time.monotonic() - start)

    def wait_until_back(self, server):
        """Wait until each thread was answered by a server that runs again; return the seconds that it took.

        On a busy machine the threads also wait for a core. That time is left out.
        """
        self.longest = [0.0] * THREADS
        since, waited = time.monotonic(), waited_for_a_core(os.getpid(), server.pid)
        wait_until(lambda: min(self.succeeded) > since, "answers for all threads")
        return time.monotonic() - since - (waited_for_a_core(os.getpid(), server.pid) - waited)


def waited_for_a_core(*pids):
    """Return how many seconds the threads of processes have waited for a core; 0 where nobody counts."""
    nanoseconds = 0
    for pid in pids:
        for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            # A thread may end meanwhile.
            with contextlib.suppress(FileNotFoundError):
                nanoseconds += int(path.read_text().split()[1])
    return nanoseconds / 1e9


def restart_often(cache, server, during_outage=lambda: None, after_outage=lambda: None):
    """Kill and restart the server under load; return the load."""
    with Load(cache) as load:
        load.wait_until_back(server)
        for number in range(RESTARTS):
            server.kill()
            # Long enough for the breaker to open, sometimes beyond MAX_STALENESS.
            time.sleep(0.05 if number % 2 else 1.2 * STALENESS)
            during_outage()
            server.start()
            took = load.wait_until_back(server)
            slowest = f"longest calls {load.longest}, errors {load.errors}, {remote_stats(cache)}"
            assert took < BACK_SECONDS + SLACK_SECONDS, f"restart {number}: {slowest}"
            after_outage()
    return load


@pytest.fixture
def own_server(flavour):
    with Server(flavour) as server:
        yield server


@pytest.mark.parametrize("near", ["local", "shared", None])
def test_miss_raises_nothing(make_tiered, own_server, near):
    cache = make_tiered(own_server.url, NEAR=near, ON_ERROR="miss", MAX_STALENESS=STALENESS)
    load = restart_often(cache, own_server)
    assert load.errors == {}
    assert load.calls > 0
    assert remote_stats(cache)["ignored_errors"] > 0


@pytest.mark.parametrize("near", ["local", "shared", None])
def test_raise_raises_errors_of_the_package(make_tiered, own_server, near):
    cache = make_tiered(own_server.url, NEAR=near, ON_ERROR="raise", MAX_STALENESS=STALENESS)
    load = restart_often(cache, own_server)
    assert load.errors
    assert [kind for kind in load.errors if not issubclass(kind, RemoteError)] == []


@pytest.mark.parametrize("near", ["local", "shared"])
def test_stale_serves_copies_during_an_outage_and_never_after_it(make_tiered, own_server, near):
    cache = make_tiered(own_server.url, NEAR=near, ON_ERROR="stale", MAX_STALENESS=STALENESS)
    version = 0
    stale_hits = 0

    def copy():
        nonlocal version, stale_hits
        version += 1
        own_server.command("SET", ":1:kept", version)
        written = time.monotonic()

        def is_reported():
            elapsed = time.monotonic() - written
            age = remote_stats(cache)["confirmation_age"]
            return age is not None and age + CLOCK_TICK < elapsed

        # A push that arrived after the kill would invalidate the copy.
        wait_until(is_reported, "a round of the listener after the write")

        def is_near():
            before = remote_stats(cache)["near_hits"]
            return cache.get("kept") == version and remote_stats(cache)["near_hits"] > before

        wait_until(is_near, "a near copy")
        stale_hits = remote_stats(cache)["stale_hits"]

    def during_outage():
        assert cache.get("kept") == version
        wait_until(
            lambda: remote_stats(cache)["stale_hits"] > stale_hits, "a copy that is served in the outage"
        )

    def after_outage():
        # All threads were answered. The server has lost the value, and no copy comes back.
        assert cache.get("kept") is None
        before = remote_stats(cache)["stale_hits"]
        for _ in range(100):
            assert cache.get("kept") is None
        assert remote_stats(cache)["stale_hits"] == before
        copy()

    wait_until(lambda: remote_stats(cache)["near_open"] or cache.get("any"), "an open gate")
    copy()
    load = restart_often(cache, own_server, during_outage, after_outage)
    assert load.errors == {}
