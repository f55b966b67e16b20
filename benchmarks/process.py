"""A rival's process, as the parent sees it: started, asked, and ended with all that it started."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from typing import Any

from .rivals import Rival

GOODBYE_SECONDS = 10


class Worker:
    """A rival's process."""

    def __init__(self, rival: Rival, burst_ms: float, place: str | None = None) -> None:
        """Start the process, which makes a place or opens one; it says hello when it is ready."""
        self.rival = rival
        self.place = place
        places = [] if place is None else [place]
        # A session of its own: Ctrl-C reaches the parent alone, and what the worker starts can be found by
        # its process group.
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

    def hello(self) -> dict[str, Any]:
        """Return the first answer: what takes part and where, or why it cannot."""
        hello = self.answer()
        self.place = hello.get("place", self.place)
        return hello

    def send(self, request: dict[str, Any]) -> None:
        """Send a request."""
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(request), file=self.requests, flush=True)

    def answer(self) -> dict[str, Any]:
        """Return the next answer; that of a dead process is how it ended."""
        if line := self.replies.readline():
            return dict(json.loads(line))
        return {"died": f"the process ended with status {self.process.wait()}"}
