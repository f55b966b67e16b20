"""A thread that runs beside a test."""

import contextlib
import threading
import time


@contextlib.contextmanager
def running_thread(interval):
    """Run a thread that appends the time to the list yielded, at this interval while it can get the GIL."""
    times = []
    done = threading.Event()

    def run():
        while not done.wait(interval):
            times.append(time.monotonic())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield times
    finally:
        done.set()
        thread.join()
