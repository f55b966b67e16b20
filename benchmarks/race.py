"""The parent's side: one worker per rival, one burst at a time, taken in turns.

Only one worker is busy at any moment. Within a round every operation is timed on one rival after another,
so that a noisy moment of the machine falls on all of them rather than on one. The minimum over all rounds
counts.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from .operations import EMPTY_LOOP, OPERATIONS, Operation
from .results import Results, Timings
from .rivals import RIVALS, Rival

GOODBYE_SECONDS = 10

Progress = Callable[[str], None]


class Worker:
    """A rival's process."""

    def __init__(self, rival: Rival, burst_ms: float) -> None:
        """Start the process; it says hello when it is ready."""
        self.rival = rival
        # A session of its own: Ctrl-C reaches the parent alone, and what the worker starts can be found by
        # its process group.
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", rival.name, str(burst_ms)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdin
        assert self.process.stdout
        self.requests, self.replies = self.process.stdin, self.process.stdout

    def __enter__(self) -> "Worker":
        """Return the worker, started already."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process, kindly at first, with all that it started."""
        with contextlib.suppress(BrokenPipeError):
            self.requests.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(GOODBYE_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.replies.close()
        self.process.wait()

    def ask(self, operation: Operation) -> dict[str, Any]:
        """Have one burst of an operation timed."""
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(operation.name), file=self.requests, flush=True)
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """Return the next answer; that of a dead process is how it ended."""
        if line := self.replies.readline():
            return dict(json.loads(line))
        return {"died": f"the process ended with status {self.process.wait()}"}


class Race:
    """The comparison while it runs."""

    def __init__(self, rivals: Sequence[Rival], results: Results, warn: Progress) -> None:
        """Prepare; `run` starts the processes."""
        self.rivals = rivals
        self.results = results
        self.warn = warn
        self.running: list[Worker] = []
        self.broken: set[tuple[str, str]] = (
            set()
        )  # (rival, operation) that failed once and are not asked again

    def run(self, repeats: int, burst_ms: float, progress: Progress) -> None:
        """Time all operations on all rivals; fill the results."""
        with contextlib.ExitStack() as stack:
            workers = [stack.enter_context(Worker(rival, burst_ms)) for rival in self.rivals]
            self.running = [worker for worker in workers if self.greeted(worker)]
            for repeat in range(1, repeats + 1):
                for operation in (EMPTY_LOOP, *OPERATIONS):
                    progress(f"round {repeat} of {repeats}: {operation.name}")
                    for worker in list(self.running):
                        if worker.rival.django or not operation.django:
                            self.time(worker, operation)
            progress("")

    def greeted(self, worker: Worker) -> bool:
        """Note the versions that a worker says hello with, or why it takes no part."""
        hello = worker.answer()
        if "versions" in hello:
            self.results.timings[worker.rival.name] = Timings(hello["versions"])
            return True
        self.skip(worker.rival, hello.get("unavailable") or hello["died"])
        return False

    def time(self, worker: Worker, operation: Operation) -> None:
        """Have a worker time one burst; note the result or the failure."""
        rival = worker.rival
        if (rival.name, operation.name) in self.broken:
            return
        answer = worker.ask(operation)
        if "ns" in answer:
            self.results.timings[rival.name].note(operation.name, answer["ns"])
        elif "error" in answer:
            self.broken.add((rival.name, operation.name))
            self.warn(f"failed: {rival.title}, {operation.name}: {answer['error']}")
        else:
            self.running.remove(worker)
            self.warn(f"failed: {rival.title}, {operation.name}: {answer['died']}")

    def skip(self, rival: Rival, reason: str) -> None:
        """Leave a rival out and say why."""
        self.results.skipped[rival.name] = reason
        self.warn(f"skipped: {rival.title}: {reason}")


def chosen(names: Sequence[str]) -> list[Rival]:
    """Return the rivals named, in the order of the table."""
    return [rival for rival in RIVALS.values() if rival.name in names]
