"""Who is timed: every rival, how it is opened, and how it spells the operations.

Django backends are opened as a project opens them, through `CACHES` and `caches["default"]`, with the
default TIMEOUT of 300 seconds. Raw libraries get the same 300 seconds where they know time to live. Every
cache has room for all entries: what is compared is the cost of an operation, not eviction.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from importlib import import_module, metadata
from threading import Lock
from typing import Any

from .servers import UnavailableError, memcached, redis_server, version

TIMEOUT = 300  # Django's default
CAPACITY = 1_000_000  # entries; far more than are ever stored
MEMORY = 256 * 1024**2  # bytes, where that is what counts

Names = Mapping[str, Any]  # what the statements may name; always a `cache`


@dataclass(frozen=True)
class Spelling:
    """How a rival writes what every cache can do: two statements to time, two expressions to check with."""

    get: str = "cache.get(key)"
    set: str = "cache.set(key, value)"
    hit: str = "cache.get(key) == value"
    miss: str = "cache.get(key) is None"


@dataclass(frozen=True)
class Rival:
    """One cache. `open` gives the names for its statements and cleans up after itself."""

    name: str  # for --only and the JSON
    title: str
    open: Callable[[], AbstractContextManager[Names]]
    modules: tuple[str, ...] = ()
    distributions: tuple[str, ...] = ()
    servers: Mapping[str, str] = field(default_factory=dict)  # program: the flag that prints its version
    django: bool = True
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
        """Return the version of everything that takes part."""
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


def locmem() -> AbstractContextManager[Names]:
    """Open the baseline, with its limit of 300 entries lifted."""
    return backend("django.core.cache.backends.locmem.LocMemCache", OPTIONS={"MAX_ENTRIES": CAPACITY})


def nearcache() -> AbstractContextManager[Names]:
    """Open what this project is about."""
    return backend("nearcache.django.LocalCache", OPTIONS={"MAX_MEMORY": MEMORY})


@contextlib.contextmanager
def shared() -> Iterator[Names]:
    """Open our cache for all processes, on a file of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="nearcache-compare-", dir="/dev/shm") as directory,
        backend(
            "nearcache.django.SharedCache", LOCATION=f"{directory}/cache", OPTIONS={"MAX_MEMORY": MEMORY}
        ) as names,
    ):
        yield names


@contextlib.contextmanager
def diskcache() -> Iterator[Names]:
    """Open diskcache on a directory of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="nearcache-compare-") as directory,
        backend("diskcache.DjangoCache", LOCATION=directory) as names,
    ):
        yield names


@contextlib.contextmanager
def redis() -> Iterator[Names]:
    """Open Django's Redis backend on a server of its own."""
    with (
        redis_server(MEMORY) as port,
        backend("django.core.cache.backends.redis.RedisCache", LOCATION=f"redis://127.0.0.1:{port}") as names,
    ):
        yield names


@contextlib.contextmanager
def pymemcache() -> Iterator[Names]:
    """Open Django's memcached backend on a server of its own."""
    with (
        memcached(MEMORY) as port,
        backend(
            "django.core.cache.backends.memcached.PyMemcacheCache", LOCATION=f"127.0.0.1:{port}"
        ) as names,
    ):
        yield names


def raw(make: Callable[[], Names]) -> Callable[[], AbstractContextManager[Names]]:
    """Return an `open` for a library that has nothing to clean up."""
    return lambda: contextlib.nullcontext(make())


MAPPING = Spelling(set="cache[key] = value")

BASELINE = "locmem"
OURS = "nearcache"
SHARED = "shared"

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
            hint="`make build` builds it",
            note='MAX_MEMORY "256MB", in /dev/shm; shared by processes, survives restarts',
        ),
        Rival(
            "diskcache",
            "diskcache",
            diskcache,
            ("diskcache",),
            ("diskcache",),
            note="its DjangoCache, in a temporary directory; shared by processes, survives restarts",
        ),
        Rival(
            "redis",
            "RedisCache",
            redis,
            ("redis",),
            ("redis",),
            {"redis-server": "--version"},
            note="Django's backend; server on loopback without persistence; shared by machines",
        ),
        Rival(
            "memcached",
            "PyMemcacheCache",
            pymemcache,
            ("pymemcache",),
            ("pymemcache",),
            {"memcached": "-V"},
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
            "dict",
            "dict",
            raw(lambda: {"cache": {}}),
            django=False,
            spelling=MAPPING,
            note="the floor: no limit, no expiry",
        ),
    )
}
