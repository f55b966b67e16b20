"""Waits for a condition, with a time limit."""

import time

TIMEOUT_SECONDS = 20.0


def wait_until(condition, what, timeout=TIMEOUT_SECONDS):
    """Return the first true value of a function; raise `TimeoutError` if there is none in time.

    The function may raise `OSError`, such as a refused connection, which counts as false.
    """
    deadline = time.monotonic() + timeout
    last = None
    while True:
        try:
            if found := condition():
                return found
        except OSError as error:
            last = error
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout} s: {what}") from last
        time.sleep(0.005)
