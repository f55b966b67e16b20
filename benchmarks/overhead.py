"""Time what stands around a cache: the proxies in front of a backend, and the import of a backend.

Run as `make overhead` or `python -m benchmarks.overhead`. Contestants take turns; the fastest of each counts.
"""

import functools
import os
import subprocess
import sys
import timeit
from collections.abc import Callable, Mapping
from typing import Any

import django
from django.conf import settings

REPEATS = 25
CALLS = 20_000
IMPORTS = 20

IMPORT_TIME = "import time; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"
# Compiled modules are kept, as they are for users.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
MODULES = {"locmem": "django.core.cache.backends.locmem", "nearcache": "nearcache.django"}


def fastest(contestants: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, float]:
    """Return each one's least number of seconds, all taking turns."""
    best = dict.fromkeys(contestants, float("inf"))
    for _ in range(repeats):
        for name, run in contestants.items():
            best[name] = min(best[name], run())
    return best


def get_through(cache: Any) -> Callable[[], float]:
    """Return what times a get of an int through `cache`, in seconds a call."""
    timer = timeit.Timer('cache.get("key")', globals={"cache": cache})
    return lambda: timer.timeit(CALLS) / CALLS


def import_of(module: str) -> Callable[[], float]:
    """Return what times an import in a new interpreter."""
    command = [sys.executable, "-c", IMPORT_TIME.format(module=module)]
    run = functools.partial(subprocess.run, check=True, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    return lambda: float(run(command).stdout)


def proxies() -> None:
    """Print what a get costs directly and through each proxy."""
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


def imports() -> None:
    """Print what the import of a backend costs a new interpreter."""
    times = fastest({name: import_of(module) for name, module in MODULES.items()}, IMPORTS)
    print("\nimport of                     ms")
    for name, seconds in times.items():
        print(f"{MODULES[name]:<34}{seconds * 1e3:>6.1f}")
    print(f"{'nearcache over locmem':<34}{(times['nearcache'] - times['locmem']) * 1e3:>6.1f}")


if __name__ == "__main__":
    proxies()
    imports()
