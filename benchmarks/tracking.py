"""What near copies are worth: how soon another process sees a change, and what a change costs the server.

One process writes numbers under one key and notes when. Another one reads that key all the time, from its
near copy, and notes when it first read a number. The time of a change is from before its `set` to the end of
the `get` that returned it, or a later one.
"""

import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib import import_module
from statistics import median
from typing import Any

KEY = "changed"
CHANGES = 500
PAUSE_SECONDS = 0.004  # between two changes
SETTLE_SECONDS = 0.3  # until the reader has a copy
LIMIT_SECONDS = 20.0  # for all changes

PROCESSES = 8
WRITES = 200
# Long, so that what else a listener is sent (answers to PING) does not count.
LONG_KEY = ":1:" + "k" * 200


@dataclass(frozen=True)
class Load:
    """What the server does for near copies of several processes on one machine."""

    processes: int
    trackers: int  # connections that are sent invalidations
    pushes: float | None  # invalidations a write; None if the server does not count a connection's bytes

    @classmethod
    def measure(cls, url: str, processes: int) -> "Load":
        """Write to the server directly, and count what it sent to the trackers."""
        server = import_module("redis").Redis.from_url(url)
        before = trackers(server)
        for number in range(WRITES):
            server.set(LONG_KEY, number)
            time.sleep(0.001)  # several writes in one cycle of the server would be one push
        after = trackers(server)
        size = len(f">2\r\n$10\r\ninvalidate\r\n*1\r\n${len(LONG_KEY)}\r\n{LONG_KEY}\r\n")
        sent = [after[name] - before[name] for name in before.keys() & after.keys()]
        counted = any(sent)
        return cls(processes, len(after), round(sum(sent) / size / WRITES, 2) if counted else None)


@dataclass(frozen=True)
class Changes:
    """The milliseconds until another process saw each change."""

    seen_ms: list[float]
    unseen: int
    load: Load | None = None

    @classmethod
    def between(cls, written: Iterable[int], read: Iterable[tuple[int, int]]) -> "Changes":
        """Match the times of the writes with the numbers that were read, and when."""
        reads = list(read)
        seen, unseen, at = [], 0, 0
        for number, start in enumerate(written):
            while at < len(reads) and reads[at][0] < number:
                at += 1
            if at < len(reads):
                seen.append((reads[at][1] - start) / 1e6)
            else:
                unseen += 1
        return cls(seen, unseen)

    @property
    def median(self) -> float | None:
        """Return the median; None if no change was seen."""
        return median(self.seen_ms) if self.seen_ms else None

    @property
    def p99(self) -> float | None:
        """Return the 99th percentile; None if no change was seen."""
        return sorted(self.seen_ms)[len(self.seen_ms) * 99 // 100] if self.seen_ms else None

    def as_json(self) -> dict[str, Any]:
        """Return the summary, ready for `json.dump`."""
        load = asdict(self.load) if self.load else {}
        return {
            "median_ms": self.median and round(self.median, 3),
            "p99_ms": self.p99 and round(self.p99, 3),
            "unseen": self.unseen,
            **load,
        }


def trackers(server: Any) -> dict[str, int]:
    """Return the connections that are sent invalidations, with the bytes sent so far."""
    listed = [client for client in server.client_list() if "t" in client["flags"]]
    return {client["id"]: int(client.get("tot-net-out", 0)) for client in listed}


def write(cache: Any) -> list[int]:
    """Write the numbers; return when each write began."""
    cache.set(KEY, -1)
    time.sleep(SETTLE_SECONDS)
    began = []
    for number in range(CHANGES):
        time.sleep(PAUSE_SECONDS)
        began.append(time.monotonic_ns())
        cache.set(KEY, number)
    return began


def read(cache: Any) -> list[tuple[int, int]]:
    """Read until the last number has come; return each number that came, and when."""
    found, last = [], -1
    deadline = time.monotonic() + LIMIT_SECONDS
    while last < CHANGES - 1 and time.monotonic() < deadline:
        for _ in range(100):
            number = cache.get(KEY, -1)
            if number > last:
                found.append((number, time.monotonic_ns()))
                last = number
    return found
