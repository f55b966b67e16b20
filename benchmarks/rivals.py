"""The caches that are compared: how each is opened, and how it spells the operations.

Django backends are opened as a project opens them, through `CACHES` and `caches["default"]`, with the
default TIMEOUT of 300 seconds. Raw libraries get the same 300 seconds where they know time to live. Every
cache has room for all entries: the cost of an operation is compared, not eviction.

A place is what processes share: a directory or a server. One process makes it, any number open it.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from importlib import import_module, metadata
from pathlib import Path
from threading import Lock
from typing import Any

from .servers import Lmdb, UnavailableError, managed, manager, memcached, redis_server, version

TIMEOUT = 300  # Django's default
CAPACITY = 1_000_000  # entries; far more than are ever stored
MEMORY = 256 * 1024**2  # bytes, where that is what counts

Names = Mapping[str, Any]  # of the statements; always a `cache`
Opened = AbstractContextManager[Names]


@dataclass(frozen=True)
class Spelling:
    """A rival's source code: two statements to time, two expressions to check the results."""

    get: str = "cache.get(key)"
    set: str = "cache.set(key, value)"
    hit: str = "cache.get(key) == value"
    miss: str = "cache.get(key) is None"


@dataclass(frozen=True)
class Rival:
    """One cache. `open` gives the names for its statements and cleans up after itself."""

    name: str  # for --only and the JSON
    title: str
    open: Callable[[str], Opened]  # at this place
    modules: tuple[str, ...] = ()
    distributions: tuple[str, ...] = ()
    servers: Mapping[str, str] = field(default_factory=dict)  # program: the flag that prints its version
    django: bool = True
    place: Callable[[], AbstractContextManager[str]] | None = None  # makes one, if processes share it
    spelling: Spelling = Spelling()
    hint: str = "`make compare` installs it"
    note: str = ""

    def require(self) -> None:
        """Raise `UnavailableError` if a module is missing."""
        try:
            for module in self.modules:
                import_module(module)
        except ImportError as error:
            raise UnavailableError(f"{error}; {self.hint}") from error

    def versions(self) -> dict[str, str]:
        """Return the versions of libraries and servers."""
        found = {name: metadata.version(name) for name in self.distributions}
        return found | {program: version(program, flag) for program, flag in self.servers.items()}


@contextlib.contextmanager
def backend(path: str, **settings: Any) -> Iterator[Names]:
    """Open a Django cache backend as the `default` of a project's CACHES."""
    from django.conf import settings as django_settings  # noqa: PLC0415 - raw rivals run without Django
    from django.core.cache import caches  # noqa: PLC0415

    django_settings.configure(CACHES={"default": {"BACKEND": path, **settings}})
    cache = caches["default"]
    try:
        yield {"cache": cache}
    finally:
        cache.close()


def directory(parent: str | None = None) -> AbstractContextManager[str]:
    """Make a directory for `with`."""
    return tempfile.TemporaryDirectory(prefix="nearcache-compare-", dir=parent)


def in_memory() -> AbstractContextManager[str]:
    """Make a directory for `with`, in `/dev/shm` if that exists."""
    return directory("/dev/shm" if Path("/dev/shm").is_dir() else None)


def locmem(_: str) -> Opened:
    """Open the baseline, with its limit of 300 entries lifted."""
    return backend("django.core.cache.backends.locmem.LocMemCache", OPTIONS={"MAX_ENTRIES": CAPACITY})


def nearcache(_: str) -> Opened:
    """Open our cache of one process."""
    return backend("nearcache.django.LocalCache", OPTIONS={"MAX_MEMORY": MEMORY})


def shared(place: str) -> Opened:
    """Open our cache of all processes, in a directory."""
    return backend("nearcache.django.SharedCache", LOCATION=f"{place}/cache", OPTIONS={"MAX_MEMORY": MEMORY})


def diskcache(place: str) -> Opened:
    """Open diskcache, in a directory."""
    return backend("diskcache.DjangoCache", LOCATION=place)


@contextlib.contextmanager
def redis_place() -> Iterator[str]:
    """Run a Redis server."""
    with redis_server(MEMORY) as port:
        yield f"redis://127.0.0.1:{port}"


def redis(place: str) -> Opened:
    """Open Django's Redis backend."""
    return backend("django.core.cache.backends.redis.RedisCache", LOCATION=place)


@contextlib.contextmanager
def memcached_place() -> Iterator[str]:
    """Run memcached."""
    with memcached(MEMORY) as port:
        yield f"127.0.0.1:{port}"


def pymemcache(place: str) -> Opened:
    """Open Django's memcached backend."""
    return backend("django.core.cache.backends.memcached.PyMemcacheCache", LOCATION=place)


def raw(make: Callable[[], Names]) -> Callable[[str], Opened]:
    """Return an `open` for a library that has nothing to clean up and nothing that processes share."""
    return lambda _: contextlib.nullcontext(make())


def lmdb(place: str) -> Opened:
    """Open LMDB, in a directory."""
    return contextlib.nullcontext({"cache": Lmdb(place, MEMORY)})


def managed_dict(place: str) -> Opened:
    """Open the dict of a manager."""
    return contextlib.nullcontext({"cache": managed(place)})


MAPPING = Spelling(set="cache[key] = value")

BASELINE = "locmem"
OURS = "nearcache"
SHARED = "shared"
FLOOR = "dict"

RIVALS = {
    rival.name: rival
    for rival in (
        Rival(
            BASELINE,
            "LocMemCache",
            locmem,
            ("django",),
            ("Django",),
            hint="`make build` installs it",
            note="MAX_ENTRIES raised so that nothing is evicted",
        ),
        Rival(
            OURS,
            "LocalCache",
            nearcache,
            ("nearcache.django",),
            ("nearcache",),
            hint="`make build` builds it",
            note='MAX_MEMORY "256MB"',
        ),
        Rival(
            SHARED,
            "SharedCache",
            shared,
            ("nearcache.django",),
            ("nearcache",),
            place=in_memory,
            hint="`make build` builds it",
            note='MAX_MEMORY "256MB", in /dev/shm; shared by processes, survives restarts',
        ),
        Rival(
            "diskcache",
            "diskcache",
            diskcache,
            ("diskcache",),
            ("diskcache",),
            place=directory,
            note="its DjangoCache, in a temporary directory; shared by processes, survives restarts",
        ),
        Rival(
            "redis",
            "RedisCache",
            redis,
            ("redis",),
            ("redis",),
            {"redis-server": "--version"},
            place=redis_place,
            note="Django's backend; server on loopback without persistence; shared by machines",
        ),
        Rival(
            "memcached",
            "PyMemcacheCache",
            pymemcache,
            ("pymemcache",),
            ("pymemcache",),
            {"memcached": "-V"},
            place=memcached_place,
            note="Django's backend; server on loopback; shared by machines",
        ),
        Rival(
            "cachebox-ttl",
            "cachebox TTL",
            raw(lambda: {"cache": import_module("cachebox").TTLCache(CAPACITY, TIMEOUT)}),
            ("cachebox",),
            ("cachebox",),
            django=False,
            spelling=MAPPING,
            note="TTLCache (Rust)",
        ),
        Rival(
            "cachebox-lru",
            "cachebox LRU",
            raw(lambda: {"cache": import_module("cachebox").LRUCache(CAPACITY)}),
            ("cachebox",),
            ("cachebox",),
            django=False,
            spelling=MAPPING,
            note="LRUCache (Rust); knows no time to live",
        ),
        Rival(
            "theine",
            "theine",
            raw(
                lambda: {"cache": import_module("theine").Cache(CAPACITY), "ttl": timedelta(seconds=TIMEOUT)}
            ),
            ("theine",),
            ("theine",),
            django=False,
            spelling=Spelling(
                set="cache.set(key, value, ttl)",
                hit="cache.get(key) == (value, True)",
                miss="cache.get(key) == (None, False)",
            ),
            note="Cache (W-TinyLFU, Rust and Python), ttl given to each set",
        ),
        Rival(
            "moka",
            "moka-py",
            raw(lambda: {"cache": import_module("moka_py").Moka(CAPACITY, ttl=TIMEOUT)}),
            ("moka_py",),
            ("moka-py",),
            django=False,
            note="Moka (W-TinyLFU, Rust)",
        ),
        Rival(
            "cachetools",
            "cachetools",
            raw(lambda: {"cache": import_module("cachetools").TTLCache(CAPACITY, TIMEOUT), "lock": Lock()}),
            ("cachetools",),
            ("cachetools",),
            django=False,
            spelling=Spelling(get="with lock: cache.get(key)", set="with lock: cache[key] = value"),
            note="TTLCache (Python), each call in a `with lock:`, as its documentation demands for threads",
        ),
        Rival(
            "lmdb",
            "lmdb",
            lmdb,
            ("lmdb",),
            ("lmdb",),
            place=in_memory,
            django=False,
            note="behind a get and a set in Python that pickle; no expiry, not synced; shared by processes",
        ),
        Rival(
            "manager",
            "Manager().dict()",
            managed_dict,
            place=manager,
            django=False,
            spelling=MAPPING,
            note="of multiprocessing: a dict in a server process; no limit, no expiry; shared by processes",
        ),
        Rival(
            FLOOR,
            "dict",
            raw(lambda: {"cache": {}}),
            django=False,
            spelling=MAPPING,
            note="the floor: no limit, no expiry",
        ),
    )
}
