"""Calls while another process is stopped within a write: which of them wait, and how long.

It is hard to stop a process at the right instruction. So the tests write into the file what such a process
leaves: the lock word names a living process, and the write count of an entry's record is odd.
"""

import contextlib
import mmap
import os
import pickle
import struct
import subprocess
import sys
import time

import pytest

from nearcache.django import SharedCache
from nearcache.django.single_flight.call import LEAD
from support.threads import running_thread

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="SharedCache is for Linux")

WORD = 8
# Words of the file: see docs/design/shared.md.
HEADER = 512
PROCESSES = 3
PROCESS_SLOT = 64
# Added to a record's first word when a write begins and when it ends.
ONE_WRITE = 1 << 40
RECORD_LEAD = 32

IDLE = """
import sys
from django.conf import settings
settings.configure()
from nearcache.django import SharedCache
cache = SharedCache(sys.argv[1], {"OPTIONS": {"MAX_MEMORY": 1024**2}})
cache.set("idle", 1)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(shared_memory):
    return shared_memory / f"stopped-{os.urandom(4).hex()}"


@pytest.fixture
def cache(path):
    return SharedCache(str(path), {"OPTIONS": {"MAX_MEMORY": 1024**2}})


class File:
    """The words of a cache file of one shard."""

    def __init__(self, path):
        with path.open("r+b") as file:
            self.map = mmap.mmap(file.fileno(), 0)

    def word(self, at):
        return struct.unpack_from("=Q", self.map, at * WORD)[0]

    def put(self, at, value):
        struct.pack_into("=Q", self.map, at * WORD, value)

    @property
    def lock(self):
        return HEADER + self.word(PROCESSES) * PROCESS_SLOT

    def owner(self, pid):
        """Return the lock word of a process."""
        for slot in range(self.word(PROCESSES)):
            start = HEADER + slot * PROCESS_SLOT
            if self.word(start + 1) == pid:
                return (self.word(start) << 16) | ((slot + 1) << 1)
        raise AssertionError(f"{pid} has no slot")

    def begin_write(self, key):
        """Mark an entry as the first store of an in-place write does."""
        at = self.map.find(f":1:{key}".encode())
        assert at > 0
        first = (at - RECORD_LEAD) // WORD
        self.put(first, self.word(first) + ONE_WRITE)


@contextlib.contextmanager
def stopped_writer(path, keys):
    """Run a process that holds the lock and has begun to write these keys."""
    command = [sys.executable, "-c", IDLE, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        file = File(path)
        file.put(file.lock, file.owner(process.pid))
        for key in keys:
            file.begin_write(key)
        try:
            yield process
        finally:
            file.put(file.lock, 0)
            process.stdin.close()


# On a busy machine, the other thread may not get a core while one call waits.
ATTEMPTS = 20
KEYS = [f"key-{number:03}" for number in range(100)]

READS = {
    "get": lambda cache: cache.get(KEYS[0]),
    "get_many": lambda cache: cache.get_many(KEYS),
    "has_key": lambda cache: cache.has_key(KEYS[0]) or None,
    "ttl": lambda cache: cache.ttl(KEYS[0]),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_read_waits_once_and_lets_threads_run(cache, path, read):
    cache.set_many(dict.fromkeys(KEYS, "text"))

    def ticks():
        start = time.monotonic()
        found = read(cache)
        # 50 ms for the whole call, where 100 keys would be 5 s.
        assert time.monotonic() - start < 1
        assert found in (None, {}, 0)
        return sum(at >= start for at in times)

    with stopped_writer(path, KEYS), running_thread(0.002) as times:
        assert any(ticks() > 2 for _ in range(ATTEMPTS))


def test_other_entries_are_read_at_once(cache, path):
    cache.set_many(dict.fromkeys(KEYS, "text"))
    with stopped_writer(path, KEYS[:1]):
        assert len(cache.get_many(KEYS[1:])) == len(KEYS) - 1
        before = cache.stats()
        assert cache.get(KEYS[0], "missing") == "missing"
        assert cache.stats().misses == before.misses + 1


def test_cleared_entries_are_missing_at_once(cache, path):
    cache.set_many(dict.fromkeys(KEYS, "text"))
    cache.clear()
    cache.set("another", 1)  # empties the rings, and leaves the slots
    with stopped_writer(path, []):
        start = time.monotonic()
        for _ in range(100):
            assert cache.get_many(KEYS) == {}
        assert time.monotonic() - start < 2


def test_incr_of_an_object_waits_without_the_gil(cache, path):
    cache.set("number", 1.5)
    with stopped_writer(path, []) as process, running_thread(0.002) as times:
        start = time.monotonic()
        with pytest.raises(TimeoutError, match=rf"a lock that another process \(pid {process.pid}\) holds"):
            cache.incr("number", 2)
        during = [at for at in times if at >= start]
    assert len(during) > 20
    assert cache.incr("number", 2) == 3.5


def test_release_of_a_lock_waits_without_the_gil(cache, path):
    lock = cache.lock("lock", timeout=60)
    assert lock.acquire()

    def ticks():
        start = time.monotonic()
        with pytest.raises(TimeoutError):
            lock.release()
        return sum(at >= start for at in times)

    with stopped_writer(path, ["lock"]), running_thread(0.002) as times:
        assert any(ticks() > 2 for _ in range(ATTEMPTS))


def test_flight_that_ends_without_a_value_waits_without_the_gil(cache, path):
    kind, flight, _ = cache._join("key", None, 0, None)
    assert kind == LEAD
    with stopped_writer(path, []), running_thread(0.002) as times:
        start = time.monotonic()
        flight.abandon()
        during = [at for at in times if at >= start]
    assert len(during) > 20


class Vanishing:
    """Can be pickled, and once it is not `there`, cannot be read."""

    there = True

    def __reduce__(self):
        return _vanishing, ()


def _vanishing():
    if not Vanishing.there:
        raise pickle.UnpicklingError("gone")
    return Vanishing()


def test_incr_of_an_unreadable_value_is_incr_of_a_missing_key(cache, monkeypatch):
    cache.set("key", Vanishing())
    monkeypatch.setattr(Vanishing, "there", False)
    assert cache.get("key") is None
    with pytest.raises(ValueError, match="key"):
        cache.incr("key")


def test_keys_that_are_not_utf8_are_omitted(path):
    cache = SharedCache(str(path), {"OPTIONS": {"MAX_MEMORY": 1024**2}})
    cache.set("other-0000", 1)
    file = File(path)
    at = file.map.find(b":1:other-") + len(":1:other-")
    # As a Rust program might store. One in 65,536 keys has the fingerprint that is in the index slot.
    for number in range(2_000_000):
        file.map[at : at + 4] = b"\xff" + number.to_bytes(3, "big")
        keys = cache.iter_keys("*")
        assert list(keys) == []
        if keys._others:
            break
    else:
        pytest.fail("no key was found that is no text")
    cache.set("text", 1)
    assert cache.keys("*") == ["text"]
