"""Computations that tests hold and count, and callers that wait for them."""

import contextlib
import threading
import time

from nearcache.django.single_flight import background

LONG = 60


class Computation:
    """A function for `get_or_set`: counts its calls, and ends when it is told to, if it is `held`."""

    def __init__(self, outcome="computed", *, held=False):
        self.outcome = outcome
        self.calls = 0
        self.began, self._go = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        if not held:
            self._go.set()

    def __call__(self):
        with self._lock:
            self.calls += 1
        self.began.set()
        assert self._go.wait(LONG)
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome

    def finish(self, *outcome):
        """Let it return, or raise an exception, which may be given here."""
        if outcome:
            (self.outcome,) = outcome
        self._go.set()


class Calling(threading.Thread):
    """A thread that calls a function; `result` waits for what it returned, or raises what it raised."""

    def __init__(self, function, *arguments, **by_name):
        super().__init__(daemon=True)
        self._call = lambda: function(*arguments, **by_name)
        self._outcome = None
        self.start()

    def run(self):
        try:
            self._outcome = "returned", self._call()
        except BaseException as error:
            self._outcome = "raised", error

    @property
    def result(self):
        self.join(LONG)
        assert not self.is_alive(), "it did not end"
        how, what = self._outcome
        if how == "raised":
            raise what
        return what


def outcome(calling):
    """Return what a call returned, or the exception that it raised."""
    try:
        return calling.result
    except Exception as error:
        return error


@contextlib.contextmanager
def leading(cache, key="key", computation=None, **options):
    """Let a thread compute the value of a key meanwhile; yields the held computation and the thread."""
    computation = computation or Computation("leader's", held=True)
    leader = Calling(cache.get_or_set, key, computation, **{"lock_timeout": LONG, **options})
    assert computation.began.wait(LONG)
    try:
        yield computation, leader
    finally:
        computation.finish()
        leader.join(LONG)


def wait_for_waits(cache, number):
    """Return when so many more calls have waited than before: call the function that this returns."""
    before = cache.stats().waits

    def wait():
        deadline = time.monotonic() + LONG
        while cache.stats().waits - before < number:
            assert time.monotonic() < deadline, "the calls do not wait"
            time.sleep(0.001)

    return wait


def waiters(cache, number, default=None, key="key", **options):
    """Return so many threads that wait for the flight of a key."""
    default = default or Computation("waiter's")
    wait = wait_for_waits(cache, number)
    calls = [
        Calling(cache.get_or_set, key, default, **{"lock_timeout": LONG, **options}) for _ in range(number)
    ]
    wait()
    return calls


def wait_for_refreshes():
    """Return when the refreshes that have been started are over."""
    pool = background._pool
    for _ in range(background.THREADS + background.WAITING):
        assert pool.places.acquire(timeout=LONG)
    pool.places.release(background.THREADS + background.WAITING)
