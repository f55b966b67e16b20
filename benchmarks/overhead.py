"""Measure what a cache costs beside its operations: memory, proxies, imports, threads.

    python -m benchmarks.overhead memory     the resident size of a full LocalCache, and expired entries
    python -m benchmarks.overhead proxies    a get through Django's `cache` and through ours
    python -m benchmarks.overhead pages      a hit of `cache_page`, through Django's test client
    python -m benchmarks.overhead imports    the import of a backend in a new interpreter
    python -m benchmarks.overhead threads    gets by several threads at once (free-threaded Python)

`make memory` runs the first, `make overhead` the three after it. Candidates take turns, and the fastest
run of each counts.
"""

import argparse
import functools
import gc
import json
import os
import random
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import timeit
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import django
from django.conf import settings

from . import values

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Run one measurement in this process: each needs settings of its own."""
    about = __doc__.splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=about)
    commands = parser.add_subparsers(required=True, metavar="MEASUREMENT")
    command = commands.add_parser("memory", help="the resident size of a full LocalCache; expired entries")
    command.add_argument("--mix", choices=MIXES, help="fill a cache with these values and print JSON")
    command.set_defaults(run=memory)
    command = commands.add_parser("proxies", help="a get through Django's `cache` and through ours")
    command.set_defaults(run=proxies)
    command = commands.add_parser("pages", help="a hit of `cache_page`, through Django's test client")
    command.set_defaults(run=pages)
    command = commands.add_parser("imports", help="the import of a backend in a new interpreter")
    command.set_defaults(run=imports)
    command = commands.add_parser("threads", help="gets by several threads at once (free-threaded Python)")
    command.add_argument("--threads", type=int, default=2, help="number of threads (default: 2)")
    command.add_argument("--keys", type=int, default=1, help="number of keys of each thread (default: 1)")
    command.set_defaults(run=threads)
    options = parser.parse_args()
    options.run(options)


# --- memory ---------------------------------------------------------------------------------------

LIMIT_MB = 128
EXPIRING = 100_000


class Basket:
    """An instance of a program's own class."""

    def __init__(self, number: int) -> None:
        """Make one that differs from the others."""
        self.owner = f"user{number}"
        self.books = [number, number + 1, number + 2]
        self.total = Decimal(number) / 100


LONG = "".join(random.choices("abcdefghijklmnopqrstuvwxyz", k=8192))

MIXES: dict[str, Callable[[int], Any]] = {
    "ints": lambda number: number + 1000,
    "100 B strings": lambda number: f"{number:0100d}",
    "4 KB strings": lambda number: f"{number:08d}{LONG[number % 4096 :][:4088]}",
    "small dicts": lambda number: {
        "id": number + 1000,
        "name": f"book {number}",
        "price": number / 7,
        "sold": True,
    },
    "objects": Basket,
    "model instances": values.article,
    "querysets of 20": values.queryset,
    "lists of 20 dicts": values.values_rows,
    "lists of 100 dataclasses": values.order,
    "responses of 20 KB": values.response,
    "responses with a cookie": values.response_with_cookie,
    "sessions": values.session,
}


def memory(options: argparse.Namespace) -> None:
    """Print the resident size of full caches, each in a new process, and the writes that expiry takes."""
    settings.configure(INSTALLED_APPS=["benchmarks"])
    django.setup()
    if options.mix:
        print(json.dumps(fill(MIXES[options.mix])))
        return
    print(f"| full of | entries | resident size, of MAX_MEMORY = {LIMIT_MB} MB | given back by clear() |")
    print("|---|---:|---:|---:|")
    for mix in MIXES:
        command = [sys.executable, "-m", "benchmarks.overhead", "memory", "--mix", mix]
        result = json.loads(subprocess.run(command, check=True, capture_output=True, cwd=ROOT).stdout)
        print(f"| {mix} | {result['entries']:,} | {result['ratio']:.2f}x | {result['given_back']:.0%} |")
    writes = writes_until_expired_entries_are_removed()
    print(
        f"\n{EXPIRING:,} expired entries that nobody read were all removed after {writes:,} writes of "
        f"another key: {writes / EXPIRING:.2f} an entry."
    )


def fill(make: Callable[[int], Any]) -> dict[str, float]:
    """Fill a cache until every entry has been replaced once; return its resident size by MAX_MEMORY."""
    from nearcache.django import LocalCache  # noqa: PLC0415 (settings come first)

    cache = LocalCache("memory", {"TIMEOUT": None, "OPTIONS": {"MAX_MEMORY": f"{LIMIT_MB}MB"}})
    cache.set("warm", make(0))
    cache.clear()
    gc.collect()
    before, number = resident_bytes(), 0
    while cache.stats().evictions == 0:
        for _ in range(1000):
            cache.set(f"key:{number}", make(number))
            number += 1
    for _ in range(number):
        cache.set(f"key:{number}", make(number))
        number += 1
    gc.collect()  # what was stored may have been in cycles
    taken, entries = resident_bytes() - before, cache.stats().entries
    cache.clear()
    gc.collect()  # empties the interpreter's lists of free tuples and dicts, each of which can hold 1 MB
    return {
        "entries": entries,
        "ratio": taken / (LIMIT_MB << 20),
        "given_back": 1 - (resident_bytes() - before) / taken,
    }


def resident_bytes() -> int:
    """Return the memory that this process has in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def writes_until_expired_entries_are_removed() -> int:
    """Let many entries expire, read none, and count the writes of another key until all are removed."""
    from nearcache.django import LocalCache  # noqa: PLC0415 (settings come first)

    cache = LocalCache("expiring", {"TIMEOUT": None})
    for number in range(EXPIRING):
        cache.set(f"key:{number}", number, timeout=1)
    time.sleep(1.1)
    writes = 0
    while cache.stats().entries > 1:
        cache.set("another", writes)
        writes += 1
    return writes


# --- proxies, pages and imports --------------------------------------------------------------------------

REPEATS = 25
CALLS = 20_000
PAGE_REPEATS = 200
PAGES = 25
IMPORTS = 20

IMPORT_TIME = "import time; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"
# As for users, who have modules compiled once.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
MODULES = {"locmem": "django.core.cache.backends.locmem", "nearcache": "nearcache.django"}


def proxies(_: argparse.Namespace) -> None:
    """Print the time of a get of the backend itself and through each proxy."""
    settings.configure(CACHES={"default": {"BACKEND": "nearcache.django.LocalCache"}})
    django.setup()
    from django.core.cache import cache as djangos  # noqa: PLC0415 (settings come first)

    from nearcache.django import cache as ours  # noqa: PLC0415 (likewise)
    from nearcache.django import caches  # noqa: PLC0415 (likewise)

    ours.set("key", 1)
    ways = {
        "the backend itself": caches["default"],
        "nearcache.django.cache": ours,
        "django.core.cache.cache": djangos,
    }
    times = fastest({name: get_through(cache) for name, cache in ways.items()}, REPEATS)
    direct = times["the backend itself"]
    print("get of an int, by way of      ns   of direct")
    for name, seconds in times.items():
        print(f"{name:<25}{seconds * 1e9:>7.0f}{seconds / direct:>11.1f}x")


def pages(_: argparse.Namespace) -> None:
    """Print the time of a request for a page of 20 KB that each cache holds.

    The time of an empty page that is not cached shows what the client and Django take without the cache.
    """
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        backends = {
            "LocMemCache": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
            "LocalCache": {"BACKEND": "nearcache.django.LocalCache"},
            "SharedCache": {"BACKEND": "nearcache.django.SharedCache", "LOCATION": f"{folder}/cache"},
        }
        if sys.platform != "linux":
            del backends["SharedCache"]
        settings.configure(
            CACHES={"default": backends["LocMemCache"], **backends},
            ROOT_URLCONF="benchmarks.pages",
            ALLOWED_HOSTS=["testserver"],
            SECRET_KEY="benchmark",
        )
        django.setup()
        times = fastest({path: get_page(path) for path in ["empty", *backends]}, PAGE_REPEATS)
    print("cache_page hit of 20 KB        µs   of LocMemCache, without the empty page")
    base = times["LocMemCache"] - times["empty"]
    for path, seconds in times.items():
        ratio = "" if path == "empty" else f"{base / (seconds - times['empty']):>10.1f}x"
        print(f"{path:<25}{seconds * 1e6:>8.1f}{ratio}")


def get_page(path: str) -> Callable[[], float]:
    """Return a function that times a request, in seconds."""
    from django.test import Client  # noqa: PLC0415 (settings come first)

    client = Client()
    for _ in range(2):
        assert client.get(f"/{path}").status_code == 200
    timer = timeit.Timer(f"client.get('/{path}')", globals={"client": client})
    return lambda: timer.timeit(PAGES) / PAGES


def imports(_: argparse.Namespace) -> None:
    """Print the time that the import of a backend takes in a new interpreter."""
    times = fastest({name: import_of(module) for name, module in MODULES.items()}, IMPORTS)
    print("import of                     ms")
    for name, seconds in times.items():
        print(f"{MODULES[name]:<34}{seconds * 1e3:>6.1f}")
    print(f"{'nearcache over locmem':<34}{(times['nearcache'] - times['locmem']) * 1e3:>6.1f}")


def fastest(candidates: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, float]:
    """Return the least number of seconds of each candidate; they take turns."""
    best = dict.fromkeys(candidates, float("inf"))
    for _ in range(repeats):
        for name, run in candidates.items():
            best[name] = min(best[name], run())
    return best


def get_through(cache: Any) -> Callable[[], float]:
    """Return a function that times a get of an int through `cache`, in seconds a call."""
    timer = timeit.Timer('cache.get("key")', globals={"cache": cache})
    return lambda: timer.timeit(CALLS) / CALLS


def import_of(module: str) -> Callable[[], float]:
    """Return a function that times an import in a new interpreter."""
    command = [sys.executable, "-c", IMPORT_TIME.format(module=module)]
    run = functools.partial(subprocess.run, check=True, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    return lambda: float(run(command).stdout)


# --- threads --------------------------------------------------------------------------------------

BURSTS = 15
GETS = 100_000


def threads(options: argparse.Namespace) -> None:
    """Print the gets of several threads a second, and their ratio to one thread's.

    As under Django, each thread has a handle of its own. A dict shows the limit of the machine.
    """
    count, keys = options.threads, options.keys
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        print("note: this Python has the GIL, so its threads take turns")
    settings.configure(SECRET_KEY="benchmark")
    from nearcache.django import LocalCache, SharedCache  # noqa: PLC0415 (settings come first)

    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        entries: dict[str, object] = {}
        stores: dict[str, Callable[[], Any]] = {
            "dict": lambda: entries,
            "LocalCache": lambda: LocalCache("threads", {"TIMEOUT": None}),
        }
        if sys.platform == "linux":
            stores["SharedCache"] = lambda: SharedCache(f"{folder}/cache", {"TIMEOUT": None})
        print(f"get of ints by {count} threads, beside one     millions/s     of one")
        for name, opened in stores.items():
            handle = opened()
            put = handle.__setitem__ if name == "dict" else handle.set
            for thread in range(count):
                for key in range(keys):
                    put(f"{thread}/{key}", 1_000_000 + key)
            one = max(gets_a_second(opened, 1, keys) for _ in range(BURSTS))
            several = max(gets_a_second(opened, count, keys) for _ in range(BURSTS))
            print(f"{name:<40}{several / 1e6:>15.2f}{several / one:>10.2f}x")


def gets_a_second(opened: Callable[[], Any], count: int, keys: int) -> float:
    """Return the gets a second of all threads together, in one burst."""
    times: list[float] = []
    barrier = threading.Barrier(count, action=lambda: times.append(time.perf_counter()))

    def work(thread: int) -> None:
        get = opened().get
        own = [f"{thread}/{key}" for key in range(keys)] * (GETS // keys)
        barrier.wait()
        for key in own:
            get(key)
        barrier.wait()

    workers = [threading.Thread(target=work, args=[thread]) for thread in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    start, end = times
    return GETS // keys * keys * count / (end - start)


if __name__ == "__main__":
    main()
