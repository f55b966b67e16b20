"""The counters of the site: requests, database queries, cache hits and misses.

All threads and processes add to the same counters: they are in the file named by the environment variable
DEMO_COUNTERS, which all processes map. Without that variable, each process has its own counters.
"""

import contextlib
import fcntl
import mmap
import os
from struct import Struct
from threading import Lock

REQUESTS, QUERIES, HITS, MISSES = "requests", "queries", "hits", "misses"


class Counters:
    """Named counters that several processes may share."""

    def __init__(self, path, *names):
        self._names = names
        self._row = Struct(f"={len(names)}Q")
        self._lock = Lock()  # flock() does not exclude the threads of a process from each other
        self._file = None
        if path:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            os.ftruncate(self._file, self._row.size)
        self._map = mmap.mmap(-1 if self._file is None else self._file, self._row.size)

    def add(self, name, amount=1):
        """Adds to a counter, atomically."""
        index = self._names.index(name)
        with self._locked():
            counts = list(self._row.unpack(self._map[:]))
            counts[index] += amount
            self._map[:] = self._row.pack(*counts)

    def snapshot(self):
        """Returns all counters by name, read at one moment."""
        with self._locked():
            return dict(zip(self._names, self._row.unpack(self._map[:]), strict=True))

    @contextlib.contextmanager
    def _locked(self):
        with self._lock:
            if self._file is not None:
                fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                if self._file is not None:
                    fcntl.flock(self._file, fcntl.LOCK_UN)


counters = Counters(os.environ.get("DEMO_COUNTERS"), REQUESTS, QUERIES, HITS, MISSES)
