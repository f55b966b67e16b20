"""The counters of this process: requests, database queries, cache hits and misses. Any thread may add."""

from threading import Lock

REQUESTS, QUERIES, HITS, MISSES = "requests", "queries", "hits", "misses"


class Counters:
    """Named numbers that only grow; `snapshot` sees all of them at one moment."""

    def __init__(self, *names):
        self._lock = Lock()
        self._counts = dict.fromkeys(names, 0)

    def add(self, name, amount=1):
        with self._lock:
            self._counts[name] += amount

    def snapshot(self):
        with self._lock:
            return dict(self._counts)


counters = Counters(REQUESTS, QUERIES, HITS, MISSES)
