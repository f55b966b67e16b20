"""Tests that run in a process of their own, so that a hang or a crash there is one failure here.

    @isolated
    def test_it_ends(self): ...

Such a test has no fixtures, only parameters that JSON can tell. It fails if the process takes too long (then
the threads' tracebacks are shown), ends with anything but 0, or writes anything to its stderr, where Python
reports what a thread, a finalizer or a callback raised.
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

TIMEOUT_SECONDS = int(os.environ.get("NEARCACHE_TEST_SECONDS", "30"))
# Warnings are errors, as for all tests; but that it forks beside threads is what a test may want.
OPTIONS = ["-W", "error", "-W", "ignore:This process:DeprecationWarning"]


def isolated(test):
    """Make a test function, or a method of a test class, run in a new process."""

    @functools.wraps(test)
    def wrapper(*args, **parameters):
        run(__file__, inspect.getmodule(test).__name__, test.__qualname__, json.dumps(parameters))

    return wrapper


def run(*arguments):
    """Run a Python program to its end and return what it printed, or fail."""
    finished, output, errors = start(*arguments)
    if finished.returncode or errors:
        pytest.fail(
            f"{' '.join(map(str, arguments))}\nended with {finished.returncode}\n{output}{errors}",
            pytrace=False,
        )
    return output


def start(*arguments):
    """Run a Python program to its end, soon in any case; return the process and its two outputs."""
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
    """Kill a process that was started with ``start_new_session``, and whatever it has left behind."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def main(module, name, parameters):
    """Call one test, in the new process."""
    # A thread of C's, so that it works while the GIL is held for good.
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
