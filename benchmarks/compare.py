"""Time the same cache operations on Django's backends, nearcache and other Python caches.

Run as `make compare` or `python -m benchmarks.compare`. A rival whose library or server is missing is
skipped.

Each rival has a process of its own, the worker. Only one worker is busy at any moment, or the two of a pair.
Within a round every operation is timed on one rival after another, so that a noisy moment of the machine
affects all of them. The best of all rounds counts.
"""

import argparse
import contextlib
import fnmatch
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .command import Progress, names_in, positive, progress, warn, write_output
from .operations import AT_ONCE, EMPTY_LOOP, OPERATIONS, VALUES, Operation
from .report import markdown_text, svg, text
from .results import Rates, Results, Timings
from .rivals import BASELINE, FLOOR, RIVALS, TIERED, TIERED_SHARED, Rival
from .tracking import PROCESSES, Changes, Load
from .worker import Worker

JSON, SVG = Path("docs/compare.json"), Path("docs/compare.svg")  # below the root

REPEATS, BURST_MS = 25, 30.0
QUICK_REPEATS, QUICK_BURST_MS = 5, 10.0

# How long before the start a pair gets its request, so that both processes are ready by then.
NOTICE_NS = 5_000_000
# How many bursts long a pair works, since its processes do not begin and end at exactly the same time.
PAIR_BURSTS = 2


class PairError(Exception):
    """A worker failed; the message says why."""


@dataclass(frozen=True)
class Pair:
    """Two workers of one rival that have opened the same place."""

    first: Worker
    second: Worker
    burst_ms: float

    @property
    def rival(self) -> Rival:
        """Return the rival of both."""
        return self.first.rival

    def time(self, operation: Operation, rates: Rates) -> None:
        """Time the first worker alone, then both at once; append the rates."""
        for worker in (self.first, self.second):
            worker.send({"operation": operation.name, "prepare": True})
            raise_failure(worker.answer())
        rates.one.append(self.rate(operation, self.first))
        rates.both.append(self.rate(operation, self.first, self.second))

    def changes(self) -> Changes:
        """Have the first worker write, the second one read; return when it saw the changes."""
        self.second.send({"changes": "read"})
        self.first.send({"changes": "write"})
        written, seen = self.first.answer(), self.second.answer()
        raise_failure(written)
        raise_failure(seen)
        return Changes.between(written["written"], seen["read"])

    def rate(self, operation: Operation, *workers: Worker) -> float:
        """Run all workers at once; return their calls a second, until the last of them ended."""
        start = time.monotonic_ns() + NOTICE_NS
        until = start + int(PAIR_BURSTS * self.burst_ms * 1e6)
        for worker in workers:
            worker.send({"operation": operation.name, "start": start, "until": until})
        answers = [worker.answer() for worker in workers]
        for answer in answers:
            raise_failure(answer)
        calls = sum(int(answer["calls"]) for answer in answers)
        return calls * 1e9 / (max(int(answer["ended"]) for answer in answers) - start)


def raise_failure(answer: dict[str, Any]) -> None:
    """Raise `PairError` if an answer reports a failure."""
    if problem := answer.get("error") or answer.get("died"):
        raise PairError(problem)


class Race:
    """The comparison while it runs."""

    def __init__(
        self, rivals: Sequence[Rival], operations: Sequence[Operation], results: Results, warn: Progress
    ) -> None:
        """Prepare; `run` starts the workers."""
        self.rivals = rivals
        self.operations = operations
        self.at_once = [each for each in AT_ONCE if each in operations]
        self.results = results
        self.warn = warn
        self.running: list[Worker] = []
        self.pairs: list[Pair] = []
        # (rival, operation) that failed once and are not timed again
        self.broken: set[tuple[str, str]] = set()

    def run(self, repeats: int, burst_ms: float, progress: Progress) -> None:
        """Time the operations on all rivals; fill the results."""
        with contextlib.ExitStack() as stack:
            workers = [stack.enter_context(Worker(rival, burst_ms)) for rival in self.rivals]
            self.running = [worker for worker in workers if self.started(worker)]
            for worker in [each for each in self.running if self.at_once and makes_pairs(each.rival)]:
                other = stack.enter_context(Worker(worker.rival, burst_ms, worker.place))
                self.join(Pair(worker, other, burst_ms))
            for repeat in range(1, repeats + 1):
                for operation in (EMPTY_LOOP, *self.operations):
                    progress(f"round {repeat} of {repeats}: {operation.name}")
                    for worker in list(self.running):
                        if worker.rival.django or not operation.django:
                            self.time(worker, operation)
                for operation in self.at_once:
                    progress(f"round {repeat} of {repeats}: {operation.name}, two processes at once")
                    for pair in list(self.pairs):
                        if pair.rival.django or not operation.django:
                            self.time_pair(pair, operation)
            for pair in [pair for pair in self.pairs if pair.rival.near]:
                progress(f"changes seen by another process: {pair.rival.title}")
                self.follow(pair, burst_ms)
            progress("")

    def follow(self, pair: Pair, burst_ms: float) -> None:
        """Measure how soon changes are seen, and for TieredCache what they cost the server."""
        name = pair.rival.name
        try:
            changes = pair.changes()
            if name in (TIERED, TIERED_SHARED):
                changes = replace(changes, load=self.load(pair, burst_ms))
        except PairError as error:
            self.warn(f"failed: {pair.rival.title}, changes: {error}")
        else:
            self.results.timings[name].changes = changes

    def load(self, pair: Pair, burst_ms: float) -> Load:
        """Start more processes with the same cache; return what a write costs the server."""
        place = pair.first.place
        assert place
        with contextlib.ExitStack() as stack:
            for _ in range(PROCESSES - 2):
                raise_failure(stack.enter_context(Worker(pair.rival, burst_ms, place)).greeting())
            return Load.measure(place, PROCESSES)

    def started(self, worker: Worker) -> bool:
        """Store the versions of a worker's greeting, or the reason why its rival is skipped."""
        hello = worker.greeting()
        if "versions" in hello:
            self.results.timings[worker.rival.name] = Timings(hello["versions"])
            return True
        self.skip(worker.rival, hello.get("unavailable") or hello["died"])
        return False

    def join(self, pair: Pair) -> None:
        """Add a pair to those that are timed, if its second worker opened the same place."""
        hello = pair.second.greeting()
        if "versions" in hello:
            self.pairs.append(pair)
        else:
            self.warn(f"failed: {pair.rival.title}, twice: {hello.get('unavailable') or hello['died']}")

    def time(self, worker: Worker, operation: Operation) -> None:
        """Have a worker time one burst; store the result or the failure."""
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
        """Time one worker of a pair and both at once; store the result or the failure."""
        name = pair.rival.name
        if (name, operation.name) in self.broken:
            return
        try:
            pair.time(operation, self.results.timings[name].rates_of(operation.name))
        except PairError as error:
            self.pairs.remove(pair)
            self.warn(f"failed: {pair.rival.title}, twice, {operation.name}: {error}")

    def skip(self, rival: Rival, reason: str) -> None:
        """Record and print why a rival is skipped."""
        self.results.skipped[rival.name] = reason
        self.warn(f"skipped: {rival.title}: {reason}")


def makes_pairs(rival: Rival) -> bool:
    """Tell whether pairs are timed: of rivals with a place, and of dicts, which show the machine's limit."""
    return rival.place is not None or rival.name == FLOOR


def chosen(names: Sequence[str]) -> list[Rival]:
    """Return the rivals of these names, in the order of the table."""
    return [rival for rival in RIVALS.values() if rival.name in names]


def rows(value: str) -> list[Operation]:
    """Return the operations that a comma-separated list of patterns selects, for argparse."""
    selected: list[Operation] = []
    for pattern in value.split(","):
        found = [each for each in OPERATIONS if fnmatch.fnmatchcase(each.name, pattern.strip())]
        if pattern == "values":
            found = list(VALUES)
        if not found:
            known = ", ".join(each.name for each in OPERATIONS)
            raise argparse.ArgumentTypeError(f"{pattern!r} is no row; choose from {known}")
        selected += found
    return [each for each in OPERATIONS if each in selected]


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the command line, parsed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only",
        type=names_in(RIVALS, "rival"),
        default=list(RIVALS),
        metavar="RIVAL,...",
        help=f"time these and {BASELINE}, the baseline: {', '.join(RIVALS)}",
    )
    parser.add_argument(
        "--rows",
        type=rows,
        default=list(OPERATIONS),
        metavar="PATTERN,...",
        help="time these operations: names, patterns such as 'get *', or 'values' for what sites cache",
    )
    parser.add_argument(
        "--quick", action="store_true", help="fewer and shorter bursts: about a minute, rougher numbers"
    )
    parser.add_argument(
        "--repeats", type=positive, metavar="N", help=f"bursts per operation (default {REPEATS})"
    )
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    parser.add_argument("--json", type=Path, metavar="PATH", help=f"write the numbers here (default {JSON})")
    parser.add_argument("--svg", type=Path, metavar="PATH", help=f"write the chart here (default {SVG})")
    parser.add_argument("--no-write", action="store_true", help="write neither")
    parser.epilog = (
        "A --quick, --only or --rows run leaves the default files alone: it writes where --json and --svg "
        "say."
    )
    return parser.parse_args(argv)


def write(options: argparse.Namespace, results: Results) -> None:
    """Write the JSON and the chart."""
    if options.no_write:
        return
    chosen_all = len(options.only) == len(RIVALS) and len(options.rows) == len(OPERATIONS)
    partial = options.quick or not chosen_all
    write_output(options.json, JSON, json.dumps(results.as_json(), indent=2) + "\n", partial=partial)
    write_output(options.svg, SVG, svg(results), partial=partial)


def main(argv: Sequence[str] | None = None) -> int:
    """Compare, print, write; return the exit status."""
    options = arguments(argv)
    repeats = options.repeats or (QUICK_REPEATS if options.quick else REPEATS)
    results = Results(repeats, QUICK_BURST_MS if options.quick else BURST_MS)
    try:
        race = Race(chosen([BASELINE, *options.only]), options.rows, results, warn)
        race.run(repeats, results.burst_ms, progress)
    except KeyboardInterrupt:
        warn("interrupted")
        return 130
    if BASELINE not in results.timings:
        return 1  # there is nothing to compare with; the reason has been printed
    print(markdown_text(results) if options.markdown else text(results))
    write(options, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
