"""Runs tests in new processes, so that a hang or a crash there is one failure here.

    @isolated
    def test_it_ends(self): ...

Such a test has no fixtures, only parameters that JSON can represent. It fails if the process takes too long
(then the threads' tracebacks are shown), exits with a status other than 0, or writes to its stderr, where
Python reports exceptions in threads, finalizers and callbacks.
"""

import contextlib
import faulthandler
import functools
import importlib
import inspect
import json
import os
import signal
import subprocess
import sys

import pytest

TIMEOUT_SECONDS = int(os.environ.get("NEARCACHE_TEST_SECONDS", "90"))
# Warnings are errors, as for all tests. Some tests fork while other threads run.
OPTIONS = ["-W", "error", "-W", "ignore:This process:DeprecationWarning"]


def isolated(test):
    """Make a test function, or a method of a test class, run in a new process."""

    @functools.wraps(test)
    def wrapper(*args, **parameters):
        run(__file__, inspect.getmodule(test).__name__, test.__qualname__, json.dumps(parameters))

    return wrapper


def run(*arguments):
    """Run a Python program; return its output, or fail if it failed."""
    finished, output, errors = start(*arguments)
    if finished.returncode or errors:
        pytest.fail(
            f"{' '.join(map(str, arguments))}\nended with {finished.returncode}\n{output}{errors}",
            pytrace=False,
        )
    return output


def start(*arguments):
    """Run a Python program, with a time limit; return the process, its output and its errors."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(
        [sys.executable, *OPTIONS, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=TIMEOUT_SECONDS + 10)
    except subprocess.TimeoutExpired:
        end_session(process)
        output, errors = process.communicate()
        errors += "ended by the watchdog\n"
    finally:
        end_session(process)
    return process, output, errors


def end_session(process):
    """Kill a process that was started with `start_new_session`, and its children."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def main(module, name, parameters):
    """Call one test, in the new process."""
    # A thread in C, which works even if the GIL is never released.
    faulthandler.dump_traceback_later(TIMEOUT_SECONDS, exit=True)
    owner, _, function = name.rpartition(".")
    holder = importlib.import_module(module)
    if owner:
        holder = getattr(holder, owner)()
    test = inspect.unwrap(getattr(holder, function))
    if owner:
        test = test.__get__(holder)
    test(**json.loads(parameters))


if __name__ == "__main__":
    main(*sys.argv[1:])
