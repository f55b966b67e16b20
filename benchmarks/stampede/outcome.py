"""What is counted: the queries of each expiry, and how long the requests took."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

from .clients import Visit
from .scenario import PERIOD, TIMEOUT, Events, seconds


def groups(begin: Sequence[int], end: Sequence[int]) -> list[list[int]]:
    """Return the beginnings of the queries, those of one expiry together.

    Queries belong to one expiry if they overlap, or if less than half of the timeout lies between them: the
    value of the first one had not expired yet. Where each process has a cache of its own, one expiry might
    so pass into the next for ever; therefore it ends when the first query's value has expired.
    """
    found: list[list[int]] = []
    latest = 0  # end of the queries of the last group
    for began, ended in zip(sorted(begin), sorted(end), strict=True):
        same = found and began < latest + seconds(TIMEOUT / 2) and began < found[-1][0] + seconds(PERIOD)
        if same:
            found[-1].append(began)
        else:
            found.append([began])
        latest = ended
    return found


def at_once(begin: Sequence[int], end: Sequence[int]) -> list[tuple[int, int]]:
    """Return how many queries run at once, from each time on at which that changes."""
    changes = sorted([(when, 1) for when in begin] + [(when, -1) for when in end])
    running = accumulate(change for _, change in changes)
    return [(when, number) for (when, _), number in zip(changes, running, strict=True)]


def percentile(ordered: Sequence[int], percent: float) -> float | None:
    """Return the least value that so many percent do not exceed; None of no values."""
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)] if ordered else None


@dataclass(frozen=True)
class Outcome:
    """The requests and queries of one cache's run, of which those between `start` and `until` count."""

    visits: Sequence[Visit]
    begin: Sequence[int]
    end: Sequence[int]
    start: int
    until: int
    versions: dict[str, str]

    @classmethod
    def of(
        cls, visits: Sequence[Visit], events: Events, start: int, until: int, versions: dict[str, str]
    ) -> "Outcome":
        """Make one from a journal, in which each query that began has ended."""
        if len(events.begin) != len(events.end):
            raise ValueError(f"{len(events.begin)} queries began, but {len(events.end)} ended")
        return cls(visits, events.begin, events.end, start, until, versions)

    @cached_property
    def expiries(self) -> list[list[int]]:
        """Return the queries of each expiry that lies between start and end as a whole."""
        last = self.until - seconds(PERIOD)
        return [group for group in groups(self.begin, self.end) if self.start <= group[0] <= last]

    @property
    def queries(self) -> int:
        """Return how many queries those expiries took."""
        return sum(map(len, self.expiries))

    @property
    def per_expiry(self) -> float | None:
        """Return queries for each expiry."""
        return self.queries / len(self.expiries) if self.expiries else None

    @cached_property
    def running(self) -> list[tuple[int, int]]:
        """Return how many queries ran at once, from each change on."""
        return at_once(self.begin, self.end)

    @property
    def most_at_once(self) -> int:
        """Return the largest number of queries that ran at once."""
        return max((number for when, number in self.running if when >= self.start), default=0)

    @cached_property
    def counted(self) -> list[Visit]:
        """Return the requests between start and end."""
        return [visit for visit in self.visits if self.start <= visit.sent < self.until]

    @cached_property
    def latencies(self) -> list[int]:
        """Return the latencies of all requests, sorted."""
        return sorted(visit.latency for visit in self.counted)

    @cached_property
    def hit_latencies(self) -> list[int]:
        """Return the latencies of plain hits, sorted: of the requests during which no query ran."""
        return sorted(visit.latency for visit in self.counted if not self.overlaps_query(visit))

    def overlaps_query(self, visit: Visit) -> bool:
        """Tell whether a query ran at any moment of a request."""
        began_before_answer = bisect_right(self.begin, visit.answered)
        ended_before_request = bisect_left(self.end, visit.sent)
        return began_before_answer > ended_before_request

    def latency(self, percent: float) -> float | None:
        """Return a percentile of all requests, in nanoseconds."""
        return percentile(self.latencies, percent)

    def hit_latency(self, percent: float) -> float | None:
        """Return a percentile of plain hits, in nanoseconds."""
        return percentile(self.hit_latencies, percent)

    def as_json(self) -> dict[str, Any]:
        """Return the figures, ready for `json.dump`."""
        return {
            "versions": self.versions,
            "requests": len(self.counted),
            "expiries": len(self.expiries),
            "queries": self.queries,
            "queries_per_expiry": rounded(self.per_expiry),
            "most_at_once": self.most_at_once,
            "ms": {
                name: rounded(found and found / 1e6)
                for name, found in (
                    ("p50", self.latency(50)),
                    ("p99", self.latency(99)),
                    ("max", self.latency(100)),
                    ("hit_p50", self.hit_latency(50)),
                    ("hit_p99", self.hit_latency(99)),
                )
            },
        }


def rounded(number: float | None) -> float | None:
    """Return a number with two digits after the point."""
    return None if number is None else round(number, 2)
