"""One rival in a process of its own: reads an operation's name, times it, writes the result.

Run as `python -m benchmarks.worker RIVAL BURST_MS [PLACE]`; without a place it makes one. One JSON object a
line, on standard input and output:

    {"operation": NAME}                             one burst           {"ns": NANOSECONDS PER CALL}
    {"operation": NAME, "prepare": true}            before the next     {"prepared": true}
    {"operation": NAME, "start": NS, "until": NS}   calls meanwhile     {"calls": NUMBER, "ended": NS}

The worker ends, and everything that it started ends with it, when its standard input does: whatever becomes
of the parent, nothing is left behind.
"""

import asyncio
import contextlib
import gc
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from itertools import cycle, islice
from random import Random
from typing import Any, BinaryIO, TextIO

from .operations import BY_NAME, Operation
from .rivals import RIVALS, Names, Rival
from .servers import UnavailableError

# Entries live 300 s. They are stored again long before that, however long the whole comparison takes.
FRESH_SECONDS = 120

# One event loop for the life of the process, as a server has.
LOOP = asyncio.new_event_loop()

# The names a statement uses are parameters, hence fast locals, as they would be inside a view.
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
    """An operation compiled for one rival, with as many calls to a burst as take the time wanted."""

    def __init__(self, operation: Operation, rival: Rival, names: Names, burst_ns: int) -> None:
        """Compile, store what has to be there, check every item, calibrate."""
        self.operation = operation
        self.names = names
        self.items = operation.items()
        # Each process has an order of its own: all at the same entry at once is not what processes do.
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
        """Call again and again between two points in time; return the calls and when the last had ended.

        Time is `time.monotonic_ns`, which all processes have in common.
        """
        # The clock is looked at about so many times a burst.
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
        name = request["operation"]
        try:
            if name not in timed:
                timed[name] = Timed(BY_NAME[name], rival, names, burst_ns)
            yield answer(timed[name], request)
        except Exception as error:  # a rival may raise anything; the others go on
            yield {"error": f"{type(error).__name__}: {error}"}


def answer(timed: Timed, request: dict[str, Any]) -> dict[str, Any]:
    """Do what is asked; return the result."""
    if "prepare" in request:
        timed.refresh()
        return {"prepared": True}
    if "start" in request:
        calls, ended = timed.run_from(request["start"], request["until"])
        return {"calls": calls, "ended": ended}
    return {"ns": timed.run()}


def serve(rival: Rival, burst_ns: int, place: str | None, requests: TextIO, replies: BinaryIO) -> None:
    """Open the rival, say hello with its versions and its place, then answer requests until they end."""

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


def main() -> None:
    """Serve one rival on standard input and output."""
    name, milliseconds, *place = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are stopped then, too
    # Whatever a library prints must not end up among the replies.
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with contextlib.suppress(BrokenPipeError):  # the parent is gone, and with it the need for an answer
        burst_ns = int(float(milliseconds) * 1e6)
        serve(RIVALS[name], burst_ns, place[0] if place else None, sys.stdin, replies)


if __name__ == "__main__":
    main()
