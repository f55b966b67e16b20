"""The figures of the load test, and the journal in which the site's processes count their queries.

64 clients send 300 requests a second, at equal distances. So each client has 213 ms for a request, which is
longer than the query takes: a client that waited for a query is ready for its next request in time, and
all 64 can wait at once.
"""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

KEY = "report"
VALUE = "the report, as long as the database says"
TIMEOUT = 1  # seconds
QUERY_SECONDS = 0.2
# The least time between two expiries: the value is computed, and then kept.
PERIOD = TIMEOUT + QUERY_SECONDS

WORKERS = 4
# Each worker could serve all clients, since the kernel does not spread the connections evenly.
THREADS = 64
CLIENTS = 64
RATE = 300  # requests a second, of all clients together

# Before the figures count.
WARM_UP = 2 * PERIOD

READY, BEGIN, END = "ready", "begin", "end"


def seconds(span: float) -> int:
    """Return seconds in the nanoseconds of the clock."""
    return int(span * 1e9)


class Journal:
    """A file to which all processes append events, each with the time on the clock that they share."""

    def __init__(self, path: str) -> None:
        """Open or create the file."""
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, event: str) -> None:
        """Append an event; the kernel appends the lines of several processes one after the other."""
        os.write(self._file, f"{event} {time.monotonic_ns()}\n".encode())


@dataclass
class Events:
    """The times of the events in a journal, each kind in order."""

    ready: list[int] = field(default_factory=list)
    begin: list[int] = field(default_factory=list)
    end: list[int] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> "Events":
        """Read a journal, which need not exist yet."""
        events = cls()
        for line in path.read_text().splitlines() if path.exists() else ():
            kind, when = line.split()
            getattr(events, kind).append(int(when))
        for times in (events.ready, events.begin, events.end):
            times.sort()
        return events
