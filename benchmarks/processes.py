"""How many more hits several reading processes get than one: `make processes`.

One process and as many as there are cores take turns, in bursts of a tenth of a second; the best burst of
each counts. What the cores themselves can is shown by a dict in each process, which shares nothing. A hit on
a key that was asked for often writes nothing that another process reads.
"""

import multiprocessing
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

from django.conf import settings

BURST_SECONDS = 0.1
ROUNDS = 40
KEYS = [f"key{number}" for number in range(500)]
VALUES = {"int": 12345, "1 KB str": "x" * 1024}


def opened(path: str):
    """Open the cache of this process."""
    if not settings.configured:
        settings.configure()
    from nearcache.django import SharedCache  # noqa: PLC0415

    return SharedCache(path, {})


def burst(path: str | None, start: float) -> float:
    """Read from a point in time on, the cache or without one a dict; return hits a second."""
    get = opened(path).get if path else dict.fromkeys(KEYS, 1).get
    while time.time() < start:
        pass
    hits, began = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < BURST_SECONDS:
        for key in KEYS:
            get(key)
        hits += len(KEYS)
    return hits / elapsed


def together(pool: ProcessPoolExecutor, path: str | None, processes: int) -> float:
    """Let so many processes read at once; return the sum of their hits a second."""
    start = time.time() + 0.01
    return sum(pool.map(burst, [path] * processes, [start] * processes))


def compare(path: str | None, counts: Sequence[int]) -> dict[int, float]:
    """Return the best sum of hits a second for each number of processes, which take turns."""
    best = dict.fromkeys(counts, 0.0)
    with ProcessPoolExecutor(max(counts), multiprocessing.get_context("spawn")) as pool:
        together(pool, path, max(counts))  # all are started and have opened the file
        for _ in range(ROUNDS):
            for count in counts:
                best[count] = max(best[count], together(pool, path, count))
    return best


def main() -> None:
    """Print hits a second, and times one process's."""
    counts = [1, len(os.sched_getaffinity(0))]
    show("a dict's get", compare(None, counts))
    for name, value in VALUES.items():
        with tempfile.TemporaryDirectory(prefix="nearcache-processes-", dir="/dev/shm") as directory:
            path = f"{directory}/cache"
            opened(path).set_many(dict.fromkeys(KEYS, value), None)
            show(f"get {name}", compare(path, counts))


def show(name: str, best: dict[int, float]) -> None:
    """Print a line for each number of processes."""
    for count, hits in best.items():
        print(f"{name:<13} {count} processes  {hits / 1e6:6.2f} M/s  {hits / best[1]:.2f}x")


if __name__ == "__main__":
    main()
