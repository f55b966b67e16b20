"""Computations of `get_or_set` that tests count, begin and end, also in other processes."""

import asyncio
import contextlib
import multiprocessing
import os
import sys
import threading
import time

FORK = multiprocessing.get_context("fork") if sys.platform != "win32" else None
LONG = 60


class Counted:
    """Counts computations in all processes: one byte a computation."""

    def __init__(self, path):
        self._file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_RDWR)

    def __call__(self, value, seconds=0.05):
        os.write(self._file, b"x")
        time.sleep(seconds)
        return value

    async def task(self, value, seconds=0.05):
        os.write(self._file, b"x")
        await asyncio.sleep(seconds)
        return value

    @property
    def number(self):
        return os.fstat(self._file).st_size


@contextlib.contextmanager
def process(work, *arguments):
    """Run a function in a forked child meanwhile. At the end, kill the child if it still runs."""
    child = FORK.Process(target=work, args=arguments, daemon=True)
    child.start()
    try:
        yield child
    finally:
        # SIGKILL ends a stopped process, too.
        child.kill()
        child.join()


class Leader:
    """A process that leads the flight of a key, until it is told to return."""

    def __init__(self, cache, key="key", outcome="leader's", **options):
        self._began, self._go, self._done = FORK.Event(), FORK.Event(), FORK.Queue()
        self._work = (cache, key, outcome, options)

    def __enter__(self):
        self._context = process(self._run, *self._work)
        self.child = self._context.__enter__()
        assert self._began.wait(LONG)
        return self

    def __exit__(self, *error):
        self._context.__exit__(*error)

    def _run(self, cache, key, outcome, options):
        try:
            self._done.put(("value", cache.get_or_set(key, lambda: self._compute(outcome), None, **options)))
        except ZeroDivisionError:
            self._done.put(("raised", None))

    def _compute(self, outcome):
        self._began.set()
        self._go.wait()
        return 1 / 0 if outcome is ZeroDivisionError else outcome

    def finish(self):
        self._go.set()
        return self._done.get(timeout=LONG)


@contextlib.contextmanager
def waiting(cache, default, **options):
    """Call `get_or_set` in a thread meanwhile, which waits; yields a list, for the value.

    The call does not overtake before the end of the test.
    """
    before, values = cache.stats().waits, []
    options = {"lock_timeout": 2 * LONG, **options}
    thread = threading.Thread(
        target=lambda: values.append(cache.get_or_set("key", default, None, **options)), daemon=True
    )
    thread.start()
    deadline = time.monotonic() + LONG
    while cache.stats().waits == before:
        assert time.monotonic() < deadline, "the call does not wait"
        time.sleep(0.001)
    yield values
    thread.join(LONG)
    assert not thread.is_alive()
