"""Time gets of different keys by one thread and by several at once, which take turns only under the GIL.

Run it with a free-threaded Python, as `python3.14t -m benchmarks.threads`. As under Django, each thread has a
handle of its own. A dict shows the limit of the machine. The shortest of several bursts counts.
"""

import argparse
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings

REPEATS = 15
CALLS = 100_000


def main() -> None:
    """Print a row for each store."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=2, help="how many at once (default: 2)")
    parser.add_argument("--keys", type=int, default=1, help="how many keys each has (default: 1)")
    options = parser.parse_args()
    count, keys = options.threads, options.keys
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        print("note: this Python has the GIL, so its threads take turns")
    settings.configure(SECRET_KEY="benchmark")
    from nearcache.django import LocalCache, SharedCache  # noqa: PLC0415 (settings come first)

    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        stores: dict[str, Callable[[], Any]] = {
            "dict": lambda: entries,
            "LocalCache": lambda: LocalCache("threads", {"TIMEOUT": None}),
        }
        if sys.platform == "linux":
            stores["SharedCache"] = lambda: SharedCache(f"{folder}/cache", {"TIMEOUT": None})
        entries: dict[str, object] = {}
        print(f"get of ints by {count} threads, beside one     millions/s     of one")
        for name, opened in stores.items():
            handle = opened()
            for thread in range(count):
                for key in range(keys):
                    put = handle.__setitem__ if name == "dict" else handle.set
                    put(f"{thread}/{key}", 1_000_000 + key)
            one, several = fastest(opened, 1, keys), fastest(opened, count, keys)
            print(f"{name:<40}{several / 1e6:>15.2f}{several / one:>10.2f}x")


def fastest(opened: Callable[[], Any], count: int, keys: int) -> float:
    """Return the most gets a second that so many threads did together."""
    return max(gets_a_second(opened, count, keys) for _ in range(REPEATS))


def gets_a_second(opened: Callable[[], Any], count: int, keys: int) -> float:
    """Return how many gets a second so many threads did together in one burst."""
    barrier = threading.Barrier(count + 1)

    def work(thread: int) -> None:
        get = opened().get
        own = [f"{thread}/{key}" for key in range(keys)] * (CALLS // keys)
        barrier.wait()
        for key in own:
            get(key)
        barrier.wait()

    threads = [threading.Thread(target=work, args=[thread]) for thread in range(count)]
    for thread in threads:
        thread.start()
    barrier.wait()
    start = time.perf_counter()
    barrier.wait()
    seconds = time.perf_counter() - start
    for thread in threads:
        thread.join()
    return CALLS // keys * keys * count / seconds


if __name__ == "__main__":
    main()
