"""The caches of the load test: the rivals of `make compare`, each with its ways to get the report."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ..rivals import BASELINE, OURS, REMOTE, RIVALS, SHARED, TIERED, Rival
from .scenario import KEY, TIMEOUT

Query = Callable[[], str]
Read = Callable[[], str]


@dataclass(frozen=True)
class Contender:
    """One row. `reader` is called in each process of the site and returns what a view calls."""

    name: str  # for --only and the JSON
    title: str
    rival: Rival
    reader: Callable[[Query], Read]
    code: str  # what a view calls, in short
    ours: bool = False
    # Whether one computation for an expiry is expected.
    once: bool = False
    # Whether the value's old copy is handed out meanwhile, so that nobody but the leader waits.
    stale: bool = False


def cache() -> Any:
    """Return the site's cache, as the running thread has it."""
    return import_module("django.core.cache").caches["default"]


def get_or_set(**options: Any) -> Callable[[Query], Read]:
    """Return a reader by Django's method, with these of our options."""
    return lambda query: lambda: str(cache().get_or_set(KEY, query, TIMEOUT, **options))


def barrier(query: Query) -> Read:
    """Read with diskcache's `barrier` between two `memoize`: a caller that gets the lock looks again."""
    disk = cache().cache("recipes")
    diskcache = import_module("diskcache")
    memoized = disk.memoize(expire=TIMEOUT, name=KEY)
    guarded = diskcache.barrier(disk, diskcache.Lock, name="barrier")
    return memoized(guarded(memoized(query)))  # type: ignore[no-any-return]


def memoize_stampede(query: Query) -> Read:
    """Read with diskcache's `memoize_stampede`, which computes in a thread before the value expires."""
    memoized = import_module("diskcache").memoize_stampede(cache().cache("recipes"), TIMEOUT, name=KEY)
    return memoized(query)  # type: ignore[no-any-return]


def plain(name: str) -> Contender:
    """Return another cache with Django's `get_or_set`."""
    return Contender(name, RIVALS[name].title, RIVALS[name], get_or_set(), "get_or_set")


def ours(name: str, rival: str, what: str = "", **options: Any) -> Contender:
    """Return one of ours, with these options."""
    rival_of = RIVALS[rival]
    given = ", ".join(f"{option}={value!r}" for option, value in options.items())
    return Contender(
        name,
        f"{rival_of.title.removesuffix(' local')}{what and f', {what}'}",
        rival_of,
        get_or_set(**options),
        f"get_or_set{given and f' with {given}'}",
        ours=True,
        once=rival != OURS,  # each process has a LocalCache of its own
        stale=bool(options.get("stale")),
    )


STALE = 30

CONTENDERS = {
    contender.name: contender
    for contender in (
        plain(BASELINE),
        plain(REMOTE),
        plain("django-redis"),
        plain("diskcache"),
        Contender(
            "diskcache-barrier", "diskcache barrier", RIVALS["diskcache"], barrier, "barrier in memoize"
        ),
        Contender(
            "diskcache-stampede",
            "diskcache memoize_stampede",
            RIVALS["diskcache"],
            memoize_stampede,
            "memoize_stampede",
        ),
        ours("local", OURS),
        ours("shared", SHARED),
        ours("shared-stale", SHARED, "stale", stale=STALE),
        ours("shared-background", SHARED, "stale, background", stale=STALE, refresh="background"),
        ours("tiered", TIERED),
        ours("tiered-distributed", TIERED, "distributed", distributed=True),
    )
}
CHECKED = ("shared", "shared-stale", "shared-background")
CHARTED = (BASELINE, REMOTE, "shared", "shared-stale")
