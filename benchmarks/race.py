"""The parent's side: one worker per rival, one burst at a time, taken in turns.

Only one worker is busy at any moment, or the two of a pair. Within a round every operation is timed on one
rival after another, so that a noisy moment of the machine falls on all of them rather than on one. The best
of all rounds counts.
"""

import contextlib
from collections.abc import Callable, Sequence

from .operations import AT_ONCE, EMPTY_LOOP, OPERATIONS, Operation
from .pairs import Pair, PairError
from .process import Worker
from .results import Results, Timings
from .rivals import FLOOR, RIVALS, Rival

Progress = Callable[[str], None]


class Race:
    """The comparison while it runs."""

    def __init__(self, rivals: Sequence[Rival], results: Results, warn: Progress) -> None:
        """Prepare; `run` starts the processes."""
        self.rivals = rivals
        self.results = results
        self.warn = warn
        self.running: list[Worker] = []
        self.pairs: list[Pair] = []
        # (rival, operation) that failed once and are not asked again
        self.broken: set[tuple[str, str]] = set()

    def run(self, repeats: int, burst_ms: float, progress: Progress) -> None:
        """Time all operations on all rivals; fill the results."""
        with contextlib.ExitStack() as stack:
            workers = [stack.enter_context(Worker(rival, burst_ms)) for rival in self.rivals]
            self.running = [worker for worker in workers if self.greeted(worker)]
            for worker in [worker for worker in self.running if makes_pairs(worker.rival)]:
                other = stack.enter_context(Worker(worker.rival, burst_ms, worker.place))
                self.join(Pair(worker, other, burst_ms))
            for repeat in range(1, repeats + 1):
                for operation in (EMPTY_LOOP, *OPERATIONS):
                    progress(f"round {repeat} of {repeats}: {operation.name}")
                    for worker in list(self.running):
                        if worker.rival.django or not operation.django:
                            self.time(worker, operation)
                for operation in AT_ONCE:
                    progress(f"round {repeat} of {repeats}: {operation.name}, two processes at once")
                    for pair in list(self.pairs):
                        if pair.rival.django or not operation.django:
                            self.time_pair(pair, operation)
            progress("")

    def greeted(self, worker: Worker) -> bool:
        """Note the versions that a worker says hello with, or why it takes no part."""
        hello = worker.hello()
        if "versions" in hello:
            self.results.timings[worker.rival.name] = Timings(hello["versions"])
            return True
        self.skip(worker.rival, hello.get("unavailable") or hello["died"])
        return False

    def join(self, pair: Pair) -> None:
        """Wait for a second process of a rival; it is timed with the first if it opened the same place."""
        hello = pair.second.hello()
        if "versions" in hello:
            self.pairs.append(pair)
        else:
            self.warn(f"failed: {pair.rival.title}, twice: {hello.get('unavailable') or hello['died']}")

    def time(self, worker: Worker, operation: Operation) -> None:
        """Have a worker time one burst; note the result or the failure."""
        rival = worker.rival
        if (rival.name, operation.name) in self.broken:
            return
        worker.send({"operation": operation.name})
        answer = worker.answer()
        if "ns" in answer:
            self.results.timings[rival.name].note(operation.name, answer["ns"])
        elif "error" in answer:
            self.broken.add((rival.name, operation.name))
            self.warn(f"failed: {rival.title}, {operation.name}: {answer['error']}")
        else:
            self.running.remove(worker)
            self.warn(f"failed: {rival.title}, {operation.name}: {answer['died']}")

    def time_pair(self, pair: Pair, operation: Operation) -> None:
        """Time one process of a pair and both at once; note the result or the failure."""
        name = pair.rival.name
        if (name, operation.name) in self.broken:
            return
        try:
            pair.time(operation, self.results.timings[name].rates_of(operation.name))
        except PairError as error:
            self.pairs.remove(pair)
            self.warn(f"failed: {pair.rival.title}, twice, {operation.name}: {error}")

    def skip(self, rival: Rival, reason: str) -> None:
        """Leave a rival out and say why."""
        self.results.skipped[rival.name] = reason
        self.warn(f"skipped: {rival.title}: {reason}")


def makes_pairs(rival: Rival) -> bool:
    """Return whether two processes are timed: what they share; a dict each, for what the machine can."""
    return rival.place is not None or rival.name == FLOOR


def chosen(names: Sequence[str]) -> list[Rival]:
    """Return the rivals named, in the order of the table."""
    return [rival for rival in RIVALS.values() if rival.name in names]
