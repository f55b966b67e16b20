"""The results of a comparison: minima, costs, ratios, expectations, and their form as JSON."""

import os
import platform
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from .operations import CACHED, EMPTY_LOOP, OPERATIONS
from .rivals import BASELINE, OURS, REMOTE, RIVALS, SHARED, TIERED, TIERED_REMOTE
from .tracking import Changes


@dataclass
class Rates:
    """Calls a second of one operation, in each round: by one process, and by two at once."""

    one: list[float] = field(default_factory=list)
    both: list[float] = field(default_factory=list)

    @property
    def gain(self) -> float:
        """Return the calls of two processes as a multiple of one's."""
        # On a busy machine a process may complete no call within a short burst.
        return max(self.both) / max(1.0, *self.one)


@dataclass
class Timings:
    """One rival's versions and the results of its bursts."""

    versions: dict[str, str]
    bursts: dict[str, list[float]] = field(default_factory=dict)  # by operation: ns per call, loop included
    rates: dict[str, Rates] = field(default_factory=dict)  # by operation
    changes: Changes | None = None  # of rivals with near copies

    def rates_of(self, operation: str) -> Rates:
        """Return the rates of an operation, to append to."""
        return self.rates.setdefault(operation, Rates())

    def note(self, operation: str, ns: float) -> None:
        """Add the result of one burst."""
        self.bursts.setdefault(operation, []).append(ns)

    def cost(self, operation: str) -> float | None:
        """Return ns per call without the loop; None if it was not timed."""
        if operation not in self.bursts:
            return None
        # Never zero, however noisy the machine: ratios are taken of it.
        return max(min(self.bursts[operation]) - min(self.bursts[EMPTY_LOOP.name]), 0.1)

    def noise(self) -> float:
        """Return how far the typical burst was above the minimum: 0.1 is 10 %."""
        return median(median(bursts) / min(bursts) for bursts in self.bursts.values()) - 1


@dataclass(frozen=True)
class Expectation:
    """The least speed of one of ours, as a multiple of another rival's.

    Without another rival it is the speed of two processes at once, as a multiple of one's.
    """

    operation: str
    times: float
    against: str | None = BASELINE
    of: str = OURS


# Of what sites cache, the least speed of LocalCache's `get`.
CACHED_GETS = {
    "response of 20 KB": 6,
    "response with cookie": 2,
    "model instance": 5,
    "20 instances": 6,
    "queryset of 20": 3,
    "20 values() rows": 12,
    "100 rows": 4,
    "session": 15,
    "100 dataclasses": 4,
    "object": 8,
}
# Below 1 they limit the time: to 1.6 times that of the fastest raw cache with expiry, for SharedCache to
# 2.5 times that of LocalCache, or twice for what sites cache, and for a near copy of TieredCache to 1.6 times
# that of LocalCache.
EXPECTATIONS = (
    Expectation("get int", 22),
    Expectation("get 1 KB str", 22),
    Expectation("get small dict", 10),
    Expectation("miss", 25),
    Expectation("set 1 KB str", 18),
    Expectation("incr", 15),
    Expectation("get_many(100)", 25),
    Expectation("aget int", 250),
    Expectation("get int", 1 / 1.6, against="cachebox-ttl"),
    *(Expectation(f"get {name}", times) for name, times in CACHED_GETS.items()),
    *(Expectation(f"set {cached.name}", 1.5) for cached in CACHED),
    *(Expectation(f"get {cached.name}", 1 / 2, OURS, SHARED) for cached in CACHED),
    *(Expectation(f"set {cached.name}", 1.2, BASELINE, SHARED) for cached in CACHED),
    *(
        Expectation(operation, times, against, SHARED)
        for operation in ("get int", "get 1 KB str")
        for against, times in ((OURS, 1 / 2.5), (BASELINE, 8), ("diskcache", 20), ("redis", 200))
    ),
    *(
        Expectation("set 1 KB str", times, against, SHARED)
        for against, times in ((BASELINE, 4), ("diskcache", 40), ("redis", 150))
    ),
    *(Expectation(operation, 1.8, None, SHARED) for operation in ("get int", "get 1 KB str")),
    *(
        Expectation(operation, 1 / 1.6, OURS, TIERED)
        for operation in ("get int", "get 1 KB str", "get model instance")
    ),
    *(
        Expectation(operation, times, REMOTE, TIERED_REMOTE)
        for operation, times in (("get int", 4), ("set 1 KB str", 4), ("get_many(100)", 3), ("aget int", 4))
    ),
)
# The longest median until another process sees a change, in milliseconds.
CHANGE_SEEN_MS = 2.0


@dataclass
class Results:
    """The results of all rivals."""

    repeats: int
    burst_ms: float
    timings: dict[str, Timings] = field(default_factory=dict)  # by rival
    skipped: dict[str, str] = field(default_factory=dict)  # rival: why

    def cost(self, rival: str, operation: str) -> float | None:
        """Return ns per call; None if it was not timed."""
        timings = self.timings.get(rival)
        return timings.cost(operation) if timings else None

    def ratio(self, rival: str, operation: str, against: str = BASELINE) -> float | None:
        """Return how many times faster a rival is than another."""
        cost, reference = self.cost(rival, operation), self.cost(against, operation)
        return reference / cost if cost and reference else None

    def met(self) -> list[tuple[Expectation, float | None]]:
        """Return the expectations of those of ours that were timed, with the ratios found."""
        timed = self.timings[BASELINE].bursts
        present = [each for each in EXPECTATIONS if each.of in self.timings and each.operation in timed]
        return [(each, self.found(each)) for each in present]

    def found(self, expectation: Expectation) -> float | None:
        """Return the ratio that an expectation is about."""
        of, operation = expectation.of, expectation.operation
        if expectation.against is not None:
            return self.ratio(of, operation, expectation.against)
        return self.gain(of, operation)

    def gain(self, rival: str, operation: str) -> float | None:
        """Return the calls of two processes at once as a multiple of one's; None if they were not timed."""
        rates = self.timings[rival].rates.get(operation)
        return rates.gain if rates and rates.both else None

    def environment(self) -> dict[str, Any]:
        """Return what the numbers depend on, without the machine's name."""
        return {
            "implementation": platform.python_implementation(),
            "python": platform.python_version(),
            "system": platform.system(),
            "machine": platform.machine(),
            "cpus": os.cpu_count(),
        }

    def as_json(self) -> dict[str, Any]:
        """Return everything, ready for `json.dump`."""
        return {
            "about": f"ns per call, minima of {self.repeats} bursts, '{EMPTY_LOOP.name}' not subtracted",
            "repeats": self.repeats,
            "burst_ms": self.burst_ms,
            "noise": round(self.timings[BASELINE].noise(), 3),
            "environment": self.environment(),
            "rivals": {name: self.rival_as_json(name) for name in self.timings},
            "skipped": self.skipped,
            "expectations": [
                {
                    "of": expectation.of,
                    "operation": expectation.operation,
                    "against": expectation.against or "one process",
                    "at_least": expectation.times,
                    "found": found and round(found, 2),
                }
                for expectation, found in self.met()
            ],
        }

    def rival_as_json(self, name: str) -> dict[str, Any]:
        """Return one rival's part."""
        timings, rival = self.timings[name], RIVALS[name]
        ratios = {operation.name: self.ratio(name, operation.name) for operation in OPERATIONS}
        return {
            "title": rival.title,
            "note": rival.note,
            "django": rival.django,
            "versions": timings.versions,
            "minima_ns": {operation: round(min(bursts), 1) for operation, bursts in timings.bursts.items()},
            "times_locmem": {
                operation: float(f"{ratio:.3g}") for operation, ratio in ratios.items() if ratio
            },
            **({"changes": timings.changes.as_json()} if timings.changes else {}),
            "calls_a_second": {
                operation: {"one": round(max(rates.one)), "two": round(max(rates.both))}
                for operation, rates in timings.rates.items()
                if rates.both
            },
        }
