"""One cache's run: an empty place, a gunicorn of its own, the clients, the outcome."""

import contextlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ..command import ROOT
from ..servers import free_port, guarded
from . import clients
from .contenders import Contender
from .outcome import Outcome
from .scenario import CLIENTS, QUERY_SECONDS, THREADS, WARM_UP, WORKERS, Events, seconds

READY_SECONDS = 60
LINES_OF_LOG = 15


class TrialError(Exception):
    """The site failed; the message says how."""


def run(contender: Contender, length: float) -> Outcome:
    """Run the site with one cache for so many seconds after the warm-up.

    Raises `UnavailableError` if a library or server is missing, `TrialError` if the site fails.
    """
    contender.rival.require()
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(contender.rival.place()) if contender.rival.place else ""
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nearcache-stampede-")))
        journal, log, port = folder / "journal", folder / "log", free_port()
        command = gunicorn(contender, place, journal, log, port)
        process = stack.enter_context(guarded("gunicorn", command, port))
        try:
            await_workers(process, journal)
            start = time.monotonic_ns() + seconds(WARM_UP)
            until = start + seconds(length)
            visits = clients.visits(port, time.monotonic_ns(), until)
        except (clients.AnswerError, TimeoutError, OSError) as error:
            raise TrialError(f"{error}\n{tail(log)}") from error
        await_queries(journal)
        return Outcome.of(visits, Events.read(journal), start, until, contender.rival.versions())


def gunicorn(contender: Contender, place: str, journal: Path, log: Path, port: int) -> list[str]:
    """Return the command that serves the site."""
    environment = {
        "STAMPEDE_CONTENDER": contender.name,
        "STAMPEDE_PLACE": place,
        "STAMPEDE_JOURNAL": str(journal),
    }
    return [
        *(sys.executable, "-m", "gunicorn", "benchmarks.stampede.site:application"),
        *(f"--chdir={ROOT}", f"--bind=127.0.0.1:{port}", f"--backlog={4 * CLIENTS}"),
        *(f"--workers={WORKERS}", f"--threads={THREADS}", "--graceful-timeout=1", "--no-control-socket"),
        *(f"--log-file={log}", "--log-level=warning", "--capture-output"),
        *(word for name, value in environment.items() for word in ("--env", f"{name}={value}")),
    ]


def await_workers(process: "subprocess.Popen[bytes]", journal: Path) -> None:
    """Return once all workers are ready, else the first ones would get most of the connections."""
    deadline = time.monotonic() + READY_SECONDS
    while len(ready := Events.read(journal).ready) < WORKERS:
        if process.poll() is not None:
            raise OSError(f"gunicorn ended at start with status {process.returncode}")
        if time.monotonic() > deadline:
            raise OSError(f"{len(ready)} of {WORKERS} workers were ready within {READY_SECONDS} s")
        time.sleep(0.05)


def await_queries(journal: Path) -> None:
    """Return once the queries have ended that run in the background, for which no request waits."""
    time.sleep(2 * QUERY_SECONDS)
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        events = Events.read(journal)
        if len(events.begin) == len(events.end):
            return
        time.sleep(QUERY_SECONDS)


def tail(log: Path) -> str:
    """Return the last lines of gunicorn's log."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join(f"  {line}" for line in lines[-LINES_OF_LOG:])
