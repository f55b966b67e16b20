"""How much memory a LocalCache really takes when it is full, against what MAX_MEMORY says.

``make memory``: for each mix of values a fresh process fills a cache to its limit and goes on until
everything in it has been replaced once, then compares how far its resident size has grown with the limit.
Then, how soon entries are given back that nobody asks for after their time is over.
"""

from __future__ import annotations

import gc
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

LIMIT_MB = 128
EXPIRING = 100_000
ROOT = Path(__file__).parent.parent


class Basket:
    """What the cache cannot take apart, so that it is pickled."""

    def __init__(self, number: int) -> None:
        """Make one that differs from the others."""
        self.owner = f"user{number}"
        self.books = [number, number + 1, number + 2]
        self.total = Decimal(number) / 100


def _text(length: int) -> str:
    return "".join(random.choices("abcdefghijklmnopqrstuvwxyz", k=length))


_LONG = _text(8192)

MIXES: dict[str, Callable[[int], Any]] = {
    "ints": lambda number: number + 1000,
    "100 B strings": lambda number: f"{number:0100d}",
    "4 KB strings": lambda number: f"{number:08d}{_LONG[number % 4096 :][:4088]}",
    "small dicts": lambda number: {
        "id": number + 1000,
        "name": f"book {number}",
        "price": number / 7,
        "sold": True,
    },
    "pickled objects": Basket,
}


def _resident() -> int:
    with Path("/proc/self/statm").open() as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def _writes_until_expired_are_gone() -> int:
    """Let many entries expire, ask for none, and count the writes of one other key until all are gone."""
    from nearcache.django import LocalCache  # noqa: PLC0415 (the parent has no settings before)

    cache = LocalCache("expiring", {"TIMEOUT": None})
    for number in range(EXPIRING):
        cache.set(f"key:{number}", number, timeout=1)
    time.sleep(1.1)
    writes = 0
    while cache.stats().entries > 1:
        cache.set("another", writes)
        writes += 1
    return writes


def _measure(mix: str) -> dict[str, float]:
    """Fill a cache in this process."""
    from django.conf import settings  # noqa: PLC0415 (only the child needs Django)

    settings.configure()
    from nearcache.django import LocalCache  # noqa: PLC0415

    cache = LocalCache("memory", {"TIMEOUT": None, "OPTIONS": {"MAX_MEMORY": f"{LIMIT_MB}MB"}})
    make = MIXES[mix]
    cache.set("warm", make(0))
    cache.clear()
    gc.collect()
    before, number = _resident(), 0
    while cache.stats().evictions == 0:
        for _ in range(1000):
            cache.set(f"key:{number}", make(number))
            number += 1
    for _ in range(number):
        cache.set(f"key:{number}", make(number))
        number += 1
    taken, stats = _resident() - before, cache.stats()
    cache.clear()
    return {
        "entries": stats.entries,
        "ratio": taken / (LIMIT_MB << 20),
        "given_back": 1 - (_resident() - before) / taken,
    }


def main() -> None:
    """Measure every mix in a process of its own."""
    if sys.argv[1:]:
        print(json.dumps(_measure(sys.argv[1])))
        return
    from django.conf import settings  # noqa: PLC0415 (as in the child)

    print(f"| full of | entries | resident size, of MAX_MEMORY = {LIMIT_MB} MB | given back by clear() |")
    print("|---|---:|---:|---:|")
    for mix in MIXES:
        run = [sys.executable, "-m", "benchmarks.memory", mix]
        result = json.loads(subprocess.run(run, check=True, capture_output=True, text=True, cwd=ROOT).stdout)
        print(f"| {mix} | {result['entries']:,} | {result['ratio']:.2f}x | {result['given_back']:.0%} |")
    settings.configure()
    writes = _writes_until_expired_are_gone()
    print(
        f"\nOf {EXPIRING:,} entries whose time was over and that nobody read, the last was given back after "
        f"{writes:,} writes of another key: {writes / EXPIRING:.2f} an entry."
    )


if __name__ == "__main__":
    main()
