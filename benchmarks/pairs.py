"""Two processes that do the same with one cache at once, beside one of them alone."""

import time
from dataclasses import dataclass
from typing import Any

from .operations import Operation
from .process import Worker
from .results import Rates
from .rivals import Rival

# Between the order and the start, so that both are there at the start.
NOTICE_NS = 5_000_000
# How much longer it takes than a burst: neither begins nor ends quite when the other does.
LENGTH = 2


class PairError(Exception):
    """A process did not do its part; the message says why."""


@dataclass(frozen=True)
class Pair:
    """A rival's process, and another one that has opened the same place."""

    first: Worker
    second: Worker
    burst_ms: float

    @property
    def rival(self) -> Rival:
        """Return whose processes they are."""
        return self.first.rival

    def time(self, operation: Operation, rates: Rates) -> None:
        """Have the first work alone and then both at once; note the rates."""
        for worker in (self.first, self.second):
            worker.send({"operation": operation.name, "prepare": True})
            check(worker.answer())
        rates.one.append(self.rate(operation, self.first))
        rates.both.append(self.rate(operation, self.first, self.second))

    def rate(self, operation: Operation, *workers: Worker) -> float:
        """Have all of them call for a while; return the sum of the calls by the time until the last ended."""
        start = time.monotonic_ns() + NOTICE_NS
        until = start + int(LENGTH * self.burst_ms * 1e6)
        for worker in workers:
            worker.send({"operation": operation.name, "start": start, "until": until})
        answers = [worker.answer() for worker in workers]
        for answer in answers:
            check(answer)
        calls = sum(int(answer["calls"]) for answer in answers)
        return calls * 1e9 / (max(int(answer["ended"]) for answer in answers) - start)


def check(answer: dict[str, Any]) -> None:
    """Raise `PairError` if an answer is of a failure."""
    if problem := answer.get("error") or answer.get("died"):
        raise PairError(problem)
