"""The promise of TieredCache: no read returns a value that is older than a write acknowledged more than
MAX_STALENESS before the read.

One server. Each test makes one of the cases that decide, with a proxy between the cache and the server.
"""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from nearcache.django.errors import RemoteTimeoutError
from support.cache_process import remote_stats
from support.redis_servers.messages import PUSH, REPLY, REQUEST
from support.redis_servers.rules import is_data, is_listener
from support.redis_servers.waiting import wait_until

# Long enough that a test that waits for events ends before the gate shuts.
LONG = 30.0
SHORT = 0.3
# The clock of the gate counts milliseconds.
CLOCK_TICK = 0.002


@pytest.fixture
def in_thread():
    """Return a function that calls another one in a thread, and returns the future."""
    with ThreadPoolExecutor(4) as pool:
        yield pool.submit


def wire(key):
    """Return a key as the server knows it."""
    return f":1:{key}"


def counter(cache, name):
    return remote_stats(cache)[name]


def wait_for(cache, name, least):
    """Wait until a counter of the cache has a value."""
    wait_until(lambda: counter(cache, name) >= least, f"{name} >= {least}")


def wait_until_open(cache):
    """Let the listener start, and wait until near copies may be served."""
    cache.get("any")
    wait_until(lambda: counter(cache, "near_open"), "an open gate")


def hits_near(cache, key):
    """Return the value of a key, and whether a near copy served it."""
    before = counter(cache, "near_hits")
    value = cache.get(key)
    return value, counter(cache, "near_hits") > before


def wait_for_answer(cache, key):
    """Return what `hits_near` does, when the circuit breaker lets a request through again."""
    return wait_until(lambda: hits_near(cache, key), "an answer")


def copy(cache, server, key, value):
    """Let the cache have a valid near copy of a value."""
    before = counter(cache, "invalidations")
    server.command("SET", wire(key), value)
    wait_for(cache, "invalidations", before + 1)
    assert hits_near(cache, key) == (value, False)
    assert hits_near(cache, key) == (value, True)


@pytest.fixture(params=["local", "shared"])
def cache(request, make_tiered, proxied):
    """Return a cache behind the proxy, with an open gate."""
    made = make_tiered(proxied.url, NEAR=request.param, MAX_STALENESS=LONG, SOCKET_TIMEOUT=5)
    wait_until_open(made)
    return made


@pytest.fixture(params=["local", "shared"])
def strict_cache(request, make_tiered, proxied):
    """Return a cache with a short MAX_STALENESS."""
    made = make_tiered(proxied.url, NEAR=request.param, MAX_STALENESS=SHORT, SOCKET_TIMEOUT=5)
    wait_until_open(made)
    return made


def colliding_keys(cache):
    """Return two keys of one stripe. They are found by what they do: a write invalidates both.

    With 700 keys, the chance that no two of 65,536 stripes are one is 2 percent, and the hash never changes.
    """
    keys = [f"key-{number}" for number in range(700)]
    cache.set_many(dict.fromkeys(keys, 0))
    wait_for(cache, "invalidations", len(keys))
    cache.get_many(keys)

    def missing(among):
        """Return whether a copy among these is not valid. Copies them again."""
        before = counter(cache, "near_hits")
        cache.get_many(among)
        return counter(cache, "near_hits") - before < len(among)

    for key in keys:
        others = [other for other in keys if other != key]
        while True:
            seen = counter(cache, "invalidations")
            cache.set(key, 0)
            wait_for(cache, "invalidations", seen + 1)
            half = others[: len(others) // 2]
            if len(others) == 1:
                if missing(others):
                    return key, others[0]
                break
            if missing(half):
                others = half
            elif missing(others[len(half) :]):
                others = others[len(half) :]
            else:
                break
            cache.get_many(keys)
        cache.get(key)
    raise AssertionError("no two keys share a stripe")


class TestPushAndReply:
    """A write is reported on another connection than the value that it replaces."""

    def test_push_between_execution_and_reply(self, cache, proxied, server, in_thread):
        copy(cache, server, "a", 1)
        with proxied.hold(REPLY, command=b"GET", where=is_data) as held:
            reading = in_thread(cache.get, "a", fresh=True)
            held.wait_seen()
            before = remote_stats(cache)
            server.command("SET", wire("a"), 2)
            wait_for(cache, "invalidations", before["invalidations"] + 1)
        assert reading.result() == 1
        assert counter(cache, "refused_invalidated") == before["refused_invalidated"] + 1
        assert counter(cache, "fills") == before["fills"]
        assert hits_near(cache, "a") == (2, False)
        assert hits_near(cache, "a") == (2, True)

    def test_push_of_another_key_of_the_stripe(self, cache, proxied, server, in_thread):
        key, other = colliding_keys(cache)
        copy(cache, server, key, 1)
        with proxied.hold(REPLY, command=b"GET", where=is_data) as held:
            reading = in_thread(cache.get, key, fresh=True)
            held.wait_seen()
            before = remote_stats(cache)
            server.command("SET", wire(other), 2)
            wait_for(cache, "invalidations", before["invalidations"] + 1)
        assert reading.result() == 1
        assert counter(cache, "refused_invalidated") == before["refused_invalidated"] + 1
        assert hits_near(cache, key) == (1, False)

    def test_push_of_another_stripe_refuses_nothing(self, cache, proxied, server, in_thread):
        copy(cache, server, "a", 1)
        with proxied.hold(REPLY, command=b"GET", where=is_data) as held:
            reading = in_thread(cache.get, "a", fresh=True)
            held.wait_seen()
            before = counter(cache, "invalidations")
            server.command("SET", wire("b"), 2)
            wait_for(cache, "invalidations", before + 1)
        assert reading.result() == 1
        assert hits_near(cache, "a") == (1, True)

    def test_own_write_during_a_fill(self, cache, proxied, server, in_thread):
        copy(cache, server, "a", 1)
        with proxied.hold(PUSH), proxied.hold(REPLY, command=b"GET", where=is_data) as held:
            reading = in_thread(cache.get, "a", fresh=True)
            held.wait_seen()
            cache.set("a", 2)
        assert reading.result() == 1
        assert cache.get("a") == 2

    def test_push_after_the_copy_is_stored(self, cache, proxied, server):
        copy(cache, server, "a", 1)
        before = counter(cache, "invalidations")
        with proxied.hold(PUSH) as held:
            server.command("SET", wire("a"), 2)
            held.wait_seen()
            # The promise gives it MAX_STALENESS.
            assert hits_near(cache, "a") == (1, True)
        wait_for(cache, "invalidations", before + 1)
        assert hits_near(cache, "a") == (2, False)

    def test_flush_during_a_fill(self, cache, proxied, server, in_thread):
        copy(cache, server, "a", 1)
        with proxied.hold(REPLY, command=b"GET", where=is_data) as held:
            reading = in_thread(cache.get, "a", fresh=True)
            held.wait_seen()
            before = remote_stats(cache)
            server.command("FLUSHALL")
            wait_for(cache, "flushes", before["flushes"] + 1)
        assert reading.result() == 1
        assert counter(cache, "refused_invalidated") == before["refused_invalidated"] + 1
        assert cache.get("a") is None

    @pytest.mark.parametrize("command", [("FLUSHDB",), ("FLUSHALL", "ASYNC")])
    def test_flush_invalidates_all_copies(self, cache, server, command):
        copy(cache, server, "a", 1)
        before = counter(cache, "flushes")
        server.command(*command)
        wait_for(cache, "flushes", before + 1)
        assert cache.get("a") is None


class Removed:
    """A class that another release of the site does not have."""


class TestInvalidCopy:
    @pytest.mark.parametrize("near", ["local", "shared"])
    def test_is_not_decoded(self, make_tiered, server, near, monkeypatch):
        cache = make_tiered(server.url, NEAR=near, MAX_STALENESS=LONG)
        wait_until_open(cache)
        cache.set("key", Removed())
        wait_for(cache, "invalidations", 1)
        cache.get("key")
        assert hits_near(cache, "key")[1]
        monkeypatch.delattr(f"{__name__}.Removed")
        if near == "shared":
            with pytest.raises(AttributeError, match="Removed"):
                cache.get("key")
        before = counter(cache, "invalidations")
        server.command("SET", wire("key"), 5)
        wait_for(cache, "invalidations", before + 1)
        assert hits_near(cache, "key") == (5, False)


class TestOwnWrites:
    def test_write_that_timed_out_and_is_applied_later(self, make_tiered, proxied, server):
        cache = make_tiered(proxied.url, MAX_STALENESS=LONG, SOCKET_TIMEOUT=0.2)
        wait_until_open(cache)
        copy(cache, server, "a", 1)
        with proxied.hold(REQUEST, command=b"SET", where=is_data) as held:
            with pytest.raises(RemoteTimeoutError):
                cache.set("a", 2)
            held.wait_seen()
            # Nothing is known of the write: its copy is dropped, and the server's value is copied.
            assert wait_for_answer(cache, "a") == (1, False)
            assert hits_near(cache, "a") == (1, True)
            before = counter(cache, "invalidations")
        wait_for(cache, "invalidations", before + 1)
        assert hits_near(cache, "a") == (2, False)

    def test_write_whose_reply_was_lost(self, make_tiered, proxied, server):
        cache = make_tiered(proxied.url, MAX_STALENESS=LONG, SOCKET_TIMEOUT=0.2)
        wait_until_open(cache)
        copy(cache, server, "a", 1)
        with proxied.hold(PUSH), proxied.hold(REPLY, command=b"SET", where=is_data) as held:
            with pytest.raises(RemoteTimeoutError):
                cache.set("a", 2)
            held.wait_seen()
            assert wait_for_answer(cache, "a") == (2, False)

    @pytest.mark.parametrize("near", ["local", "shared"])
    def test_each_thread_reads_what_it_wrote_without_a_push(self, make_tiered, proxied, near):
        cache = make_tiered(proxied.url, NEAR=near, MAX_STALENESS=LONG)
        wait_until_open(cache)
        with proxied.hold(PUSH):
            for number in range(200):
                cache.set("a", number)
                assert cache.get("a") == number
                assert cache.get("a") == number


class Reads:
    """Reads a key in a thread, and keeps when each read began and what it returned."""

    def __init__(self, cache, key):
        self.found = []
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(cache, key))

    def _read(self, cache, key):
        while not self._ends.is_set():
            start = time.clock_gettime(time.CLOCK_BOOTTIME)
            self.found.append((start, cache.get(key)))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ends.set()
        self._thread.join()

    def after(self, moment):
        """Return what the reads returned that began after a moment."""
        return {value for start, value in list(self.found) if start > moment}

    def wait_beyond(self, moment):
        """Wait until a read has begun after a moment."""
        wait_until(lambda: self.found and self.found[-1][0] > moment, "a later read")


class TestSilentListener:
    def test_gate_shuts_and_reads_come_from_the_server(self, strict_cache, proxied, server):
        copy(strict_cache, server, "a", 1)
        with proxied.silence(is_listener), Reads(strict_cache, "a") as reads:
            server.command("SET", wire("a"), 2)
            limit = time.clock_gettime(time.CLOCK_BOOTTIME) + SHORT + CLOCK_TICK
            reads.wait_beyond(limit + SHORT)
            assert reads.after(limit) == {2}
            assert not counter(strict_cache, "near_open")
            assert hits_near(strict_cache, "a") == (2, False)
        wait_until_open(strict_cache)
        assert strict_cache.get("a") == 2
        assert hits_near(strict_cache, "a") == (2, True)

    def test_paused_server_keeps_the_bound(self, make_tiered, proxied, server):
        cache = make_tiered(proxied.url, MAX_STALENESS=SHORT, SOCKET_TIMEOUT=0.1, ON_ERROR="miss")
        wait_until_open(cache)
        copy(cache, server, "a", 1)
        server.pause()
        start = time.clock_gettime(time.CLOCK_BOOTTIME)
        try:
            with Reads(cache, "a") as reads:
                reads.wait_beyond(start + 2 * SHORT)
                # No write was acknowledged meanwhile, but the cache cannot know.
                assert reads.after(start + SHORT + CLOCK_TICK) == {None}
        finally:
            server.resume()

    def test_late_push_keeps_the_bound(self, strict_cache, proxied, server):
        copy(strict_cache, server, "a", 1)
        # The answers to the rounds of the listener come behind the push.
        with proxied.hold(PUSH) as held, Reads(strict_cache, "a") as reads:
            server.command("SET", wire("a"), 2)
            limit = time.clock_gettime(time.CLOCK_BOOTTIME) + SHORT + CLOCK_TICK
            held.wait_seen()
            reads.wait_beyond(limit + SHORT)
            assert reads.after(limit) == {2}

    def test_lost_connection_invalidates_at_once(self, cache, proxied, server):
        copy(cache, server, "a", 1)
        before = counter(cache, "losses")
        with proxied.refused():
            assert proxied.cut(is_listener) == 1
            wait_for(cache, "losses", before + 1)
            server.command("SET", wire("a"), 2)
            # Existing connections for data go on.
            assert hits_near(cache, "a") == (2, False)
            assert hits_near(cache, "a") == (2, False)
            assert counter(cache, "refused_unarmed") >= 2
        wait_until(lambda: hits_near(cache, "a") == (2, True), "a near copy")

    def test_write_while_the_listener_reconnects(self, cache, proxied, server):
        """The copies from before are not served after the listener is back."""
        copy(cache, server, "a", 1)
        copy(cache, server, "b", 1)
        before = counter(cache, "losses")
        with proxied.refused():
            proxied.cut(is_listener)
            wait_for(cache, "losses", before + 1)
            server.command("SET", wire("a"), 2)
        listening = proxied.wait_for_connection(is_listener)
        assert listening is not None
        wait_until(lambda: hits_near(cache, "b") == (1, True), "a near copy")
        assert hits_near(cache, "a") == (2, False)

    def test_server_that_restarts(self, strict_cache, server):
        copy(strict_cache, server, "a", 1)
        server.restart()
        start = time.clock_gettime(time.CLOCK_BOOTTIME)
        server.command("SET", wire("a"), 2)
        with Reads(strict_cache, "a") as reads:
            reads.wait_beyond(start + 2 * SHORT)
            assert reads.after(start + SHORT + CLOCK_TICK) == {2}
        wait_until(lambda: hits_near(strict_cache, "a") == (2, True), "a near copy")


class TestExpiry:
    def test_expiry_without_a_push(self, cache, server):
        server.command("DEBUG", "SET-ACTIVE-EXPIRE", 0)
        try:
            before = counter(cache, "invalidations")
            server.command("SET", wire("a"), 1, "PX", 300)
            limit = time.clock_gettime(time.CLOCK_BOOTTIME) + 0.3 + CLOCK_TICK
            wait_for(cache, "invalidations", before + 1)
            assert hits_near(cache, "a") == (1, False)
            assert hits_near(cache, "a") == (1, True)
            before = counter(cache, "invalidations")
            with Reads(cache, "a") as reads:
                reads.wait_beyond(limit)
                # The first read that asks the server lets it find that the entry has expired.
                wait_until(lambda: reads.after(limit), "a read after the expiry")
            assert reads.after(limit) == {None}
        finally:
            server.command("DEBUG", "SET-ACTIVE-EXPIRE", 1)

    def test_ttl_counts_from_before_the_request(self, cache, proxied, server):
        """A reply that was on its way for longer than the entry lives makes no copy that is served."""
        server.command("SET", wire("a"), 1, "PX", 400)
        ends = time.clock_gettime(time.CLOCK_BOOTTIME) + 0.4 + CLOCK_TICK
        with proxied.hold(PUSH), ThreadPoolExecutor(1) as pool:
            with proxied.hold(REPLY, command=b"GET", where=is_data) as held:
                reading = pool.submit(cache.get, "a", fresh=True)
                held.wait_seen()
                time.sleep(max(0.0, ends - time.clock_gettime(time.CLOCK_BOOTTIME)))
            assert reading.result() == 1
            assert cache.get("a") is None

    def test_near_ttl_is_the_longest(self, make_tiered, proxied, server):
        cache = make_tiered(proxied.url, MAX_STALENESS=LONG, NEAR_TTL=0.2)
        wait_until_open(cache)
        server.command("SET", wire("a"), 1)
        wait_until(lambda: hits_near(cache, "a") == (1, True), "a near copy")
        wait_until(lambda: hits_near(cache, "a") == (1, False), "the end of the near copy")

    def test_shorter_ttl_is_reported(self, cache, server):
        copy(cache, server, "a", 1)
        before = counter(cache, "invalidations")
        server.command("PEXPIRE", wire("a"), 100)
        wait_for(cache, "invalidations", before + 1)
        wait_until(lambda: cache.get("a") is None, "the expiry")
