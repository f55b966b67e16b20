"""One rival in a process of its own: reads an operation's name, times it, writes the result.

`Worker` starts the process `python -m benchmarks.worker RIVAL BURST_MS [PLACE]`, which makes a place if none
is given. They exchange one JSON object a line, on the process's standard input and output:

    {"operation": NAME}                             one burst           {"ns": NANOSECONDS PER CALL}
    {"operation": NAME, "prepare": true}            before the next     {"prepared": true}
    {"operation": NAME, "start": NS, "until": NS}   calls meanwhile     {"calls": NUMBER, "ended": NS}
    {"changes": "write"}                            numbers written     {"written": [NS, ...]}
    {"changes": "read"}                             numbers seen        {"read": [[NUMBER, NS], ...]}

The process and everything that it started end when its standard input ends, whatever happens to the parent.
"""

import asyncio
import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import cycle, islice
from random import Random
from typing import Any, BinaryIO, TextIO

from . import tracking
from .operations import BY_NAME, Operation
from .rivals import RIVALS, Names, Rival
from .servers import UnavailableError

# Entries live 300 s. They are stored again long before that, however long the whole comparison takes.
FRESH_SECONDS = 120
EXIT_SECONDS = 10

# One event loop for the life of the process, as a server has.
LOOP = asyncio.new_event_loop()

# The names of a statement are parameters, and so fast locals, as in a view.
SOURCE = """
{define} burst({names}, items, passes, clock):
    elapsed = 0
    for _ in range(passes):
        {between}
        start = clock()
        for key, value in items:
            {statement}
        elapsed += clock() - start
    return elapsed

{define} stretch({names}, items, count, until, clock):
    calls = 0
    while clock() < until:
        for key, value in islice(items, count):
            {statement}
        calls += count
    return calls

def store({names}, pairs):
    for key, value in pairs:
        {set}

def failures({names}, items):
    {between}
    return [key for key, value in items if not ({check})]
"""


class Timed:
    """An operation compiled for one rival, with as many calls a burst as take the time wanted."""

    def __init__(self, operation: Operation, rival: Rival, names: Names, burst_ns: int) -> None:
        """Compile, store what has to be there, check every item, calibrate."""
        self.operation = operation
        self.names = names
        self.items = operation.items()
        # Each process has an order of its own, since real processes seldom use one entry at the same time.
        self.shuffled = list(self.items)
        Random(os.getpid()).shuffle(self.shuffled)
        self.pairs = operation.pairs() if operation.stored else []
        self.passes = 1
        self.stored_at = float("-inf")
        self.code = compiled(operation, rival, names)
        self.refresh()
        if wrong := self.code["failures"](**names, items=self.items):
            raise ValueError(f"`{operation.check}` does not hold for {wrong[0]!r:.60}")
        self.calibrate(burst_ns)

    def refresh(self) -> None:
        """Store the entries again before they can expire."""
        if time.monotonic() - self.stored_at > FRESH_SECONDS:
            self.code["store"](**self.names, pairs=self.pairs)
            self.stored_at = time.monotonic()

    def calibrate(self, burst_ns: int) -> None:
        """Choose passes over the items, or fewer items if one pass is too long already."""
        everything = self.items
        self.items = everything[:2]
        self.elapsed()  # pays for what is set up once: a thread, a connection
        while (elapsed := self.elapsed()) < burst_ns / 10 and len(self.items) < len(everything):
            self.items = everything[: len(self.items) * 4]
        if len(self.items) == len(everything):
            while elapsed < burst_ns / 2:
                self.passes *= 2
                elapsed = self.elapsed()
        calls = max(1, round(burst_ns / elapsed * self.passes * len(self.items)))
        self.passes = max(1, round(calls / len(everything)))
        self.items = everything[:calls]

    def elapsed(self) -> int:
        """Run one burst; return its nanoseconds."""
        gc.disable()
        try:
            arguments = {
                **self.names,
                "items": self.items,
                "passes": self.passes,
                "clock": time.perf_counter_ns,
            }
            result = self.code["burst"](**arguments)
            return int(LOOP.run_until_complete(result) if self.operation.awaits else result)
        finally:
            gc.enable()

    def run(self) -> float:
        """Run one burst; return nanoseconds per call."""
        self.refresh()
        return self.elapsed() / (self.passes * len(self.items))

    def run_from(self, start: int, until: int) -> tuple[int, int]:
        """Call repeatedly between two points in time; return the calls and when the last had ended.

        The clock is `time.monotonic_ns`, which all processes have in common.
        """
        # Read the clock about 50 times a burst.
        count = max(1, self.passes * len(self.items) // 50)
        arguments = {**self.names, "items": cycle(self.shuffled), "count": count}
        gc.disable()
        try:
            while time.monotonic_ns() < start:
                pass
            calls = self.code["stretch"](**arguments, until=until, clock=time.monotonic_ns)
            return calls, time.monotonic_ns()
        finally:
            gc.enable()


def compiled(operation: Operation, rival: Rival, names: Names) -> dict[str, Any]:
    """Return `burst`, `store` and `failures` for an operation in a rival's spelling."""
    spelling = vars(rival.spelling)
    source = SOURCE.format(
        define="async def" if operation.awaits else "def",
        names=", ".join(names),
        between=operation.between,
        statement=operation.statement.format(**spelling),
        check=operation.check.format(**spelling),
        set=rival.spelling.set,
    )
    code: dict[str, Any] = {"islice": islice}
    exec(compile(source, f"<{rival.name}: {operation.name}>", "exec"), code)
    return code


def answers(rival: Rival, names: Names, requests: TextIO, burst_ns: int) -> Iterator[dict[str, Any]]:
    """Yield one answer for each request."""
    timed: dict[str, Timed] = {}
    for line in requests:
        request = json.loads(line)
        name = request.get("operation")
        try:
            if name is None:
                yield changes(request["changes"], names["cache"])
                continue
            if name not in timed:
                timed[name] = Timed(BY_NAME[name], rival, names, burst_ns)
            yield answer(timed[name], request)
        except Exception as error:  # a rival may raise anything; the others go on
            yield {"error": f"{type(error).__name__}: {error}"}


def changes(role: str, cache: Any) -> dict[str, Any]:
    """Write or read the numbers of `tracking`; return the answer."""
    return {"written": tracking.write(cache)} if role == "write" else {"read": tracking.read(cache)}


def answer(timed: Timed, request: dict[str, Any]) -> dict[str, Any]:
    """Carry out a request; return the answer."""
    if "prepare" in request:
        timed.refresh()
        return {"prepared": True}
    if "start" in request:
        calls, ended = timed.run_from(request["start"], request["until"])
        return {"calls": calls, "ended": ended}
    return {"ns": timed.run()}


def serve(rival: Rival, burst_ns: int, place: str | None, requests: TextIO, replies: BinaryIO) -> None:
    """Open the rival, write its versions and its place, then answer requests until the input ends."""

    def reply(message: dict[str, Any]) -> None:
        replies.write(json.dumps(message).encode() + b"\n")

    with contextlib.ExitStack() as stack:
        try:
            rival.require()
            if place is None:
                place = stack.enter_context(rival.place()) if rival.place else ""
            names = stack.enter_context(rival.open(place))
            reply({"versions": rival.versions(), "place": place})
        except UnavailableError as error:
            reply({"unavailable": str(error)})
            return
        except Exception as error:  # a rival may raise anything; the others go on
            reply({"unavailable": f"{type(error).__name__}: {error}"})
            return
        for each in answers(rival, names, requests, burst_ns):
            reply(each)


class Worker:
    """A rival's process, as the parent sees it."""

    def __init__(self, rival: Rival, burst_ms: float, place: str | None = None) -> None:
        """Start the process, which makes a place or opens one; `greeting` waits until it is ready."""
        self.rival = rival
        self.place = place
        places = [] if place is None else [place]
        # A session of its own: Ctrl-C reaches the parent alone, and the process group has all that the worker
        # starts.
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", rival.name, str(burst_ms), *places],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdin
        assert self.process.stdout
        self.requests, self.replies = self.process.stdin, self.process.stdout

    def __enter__(self) -> "Worker":
        """Return the worker."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the process's input, wait, then kill it with all that it started."""
        with contextlib.suppress(BrokenPipeError):
            self.requests.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(EXIT_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.replies.close()
        self.process.wait()

    def greeting(self) -> dict[str, Any]:
        """Return the first answer: versions and place, or the reason why the rival is unavailable."""
        greeting = self.answer()
        self.place = greeting.get("place", self.place)
        return greeting

    def send(self, request: dict[str, Any]) -> None:
        """Send a request."""
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(request), file=self.requests, flush=True)

    def answer(self) -> dict[str, Any]:
        """Return the next answer, or the exit status of a process that has ended."""
        if line := self.replies.readline():
            return dict(json.loads(line))
        return {"died": f"the process ended with status {self.process.wait()}"}


def main() -> None:
    """Serve one rival on standard input and output."""
    name, milliseconds, *place = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are stopped then, too
    # Output of libraries must not be mixed with the replies.
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with contextlib.suppress(BrokenPipeError):  # the parent has ended
        burst_ns = int(float(milliseconds) * 1e6)
        serve(RIVALS[name], burst_ns, place[0] if place else None, sys.stdin, replies)


if __name__ == "__main__":
    main()
