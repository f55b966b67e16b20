"""The caches that are compared: how each is opened, and how it spells the operations.

Django backends are opened as a project opens them, through `CACHES` and `caches["default"]`, with the
default TIMEOUT of 300 seconds. Raw libraries get the same 300 seconds where they know time to live. Every
cache has room for all entries: the cost of an operation is compared, not eviction.

A place is what processes share: a directory or a server. One process makes it, any number open it.
"""

import contextlib
import platform
import sys
import tempfile
import time
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
READY_SECONDS = 5.0
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
    python: tuple[int, int] = (3, 10)  # the oldest that it runs on
    spelling: Spelling = Spelling()
    near: bool = False  # whether it keeps copies of a server's entries in the process or on the machine
    tiers: bool = False  # whether it is in the table of caches for several machines only
    hint: str = "`make compare` installs it"
    note: str = ""

    def require(self) -> None:
        """Raise `UnavailableError` if a module is missing, or Python is too old for it."""
        if sys.version_info < self.python:
            least = ".".join(map(str, self.python))
            raise UnavailableError(f"needs Python {least} or later; this is {platform.python_version()}")
        try:
            for module in self.modules:
                import_module(module)
        except ImportError as error:
            raise UnavailableError(f"{error}; {self.hint}") from error

    def versions(self) -> dict[str, str]:
        """Return the versions of libraries and servers."""
        found = {name: metadata.version(name) for name in self.distributions}
        return found | dict(version(program, flag) for program, flag in self.servers.items())


@contextlib.contextmanager
def backend(path: str, **settings: Any) -> Iterator[Names]:
    """Open a Django cache backend as the `default` of a project's CACHES."""
    import django  # noqa: PLC0415 - raw rivals run without Django
    from django.conf import settings as django_settings  # noqa: PLC0415
    from django.core.cache import caches  # noqa: PLC0415

    django_settings.configure(
        CACHES={"default": {"BACKEND": path, **settings}}, INSTALLED_APPS=["benchmarks"]
    )
    django.setup()
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
    options = {"MAX_MEMORY": MEMORY, "OBJECT_CACHE": MEMORY}
    return backend("nearcache.django.SharedCache", LOCATION=f"{place}/cache", OPTIONS=options)


def diskcache(place: str) -> Opened:
    """Open diskcache, in a directory."""
    return backend("diskcache.DjangoCache", LOCATION=place)


@contextlib.contextmanager
def redis_place() -> Iterator[str]:
    """Run a Redis server."""
    with redis_server(MEMORY) as port:
        yield f"redis://127.0.0.1:{port}"


@contextlib.contextmanager
def near_place() -> Iterator[str]:
    """Run a Redis server, and remove the near copies of this machine afterwards."""
    with redis_place() as url:
        try:
            yield url
        finally:
            file = near_file(url)
            for path in file.parent.glob(f"{file.name}*"):
                path.unlink(missing_ok=True)


def near_file(url: str) -> Path:
    """Return the file for the near copies of a server's entries."""
    memory = Path("/dev/shm")
    folder = memory if memory.is_dir() else Path(tempfile.gettempdir())
    return folder / f"nearcache-compare-{url.rpartition(':')[2]}"


def redis(place: str) -> Opened:
    """Open Django's Redis backend."""
    return backend("django.core.cache.backends.redis.RedisCache", LOCATION=place)


def django_redis(place: str) -> Opened:
    """Open django-redis, with hiredis."""
    return backend("django_redis.cache.RedisCache", LOCATION=place)


@contextlib.contextmanager
def redis_client_cache(place: str) -> Iterator[Names]:
    """Open Django's Redis backend with the client-side cache of redis-py."""
    connection = import_module("redis.connection")
    # It refuses all servers but Redis 7.4 and later. Valkey tracks keys in the same way.
    name = import_module("redis").Redis.from_url(place).info("server").get("server_name", "redis")
    connection.CacheProxyConnection.DEFAULT_SERVER_NAME = name
    connection.CacheProxyConnection.MIN_ALLOWED_VERSION = "6.0.0"
    config = import_module("redis.cache").CacheConfig(max_size=CAPACITY)
    options = {"protocol": 3, "cache_config": config}
    with backend("django.core.cache.backends.redis.RedisCache", LOCATION=place, OPTIONS=options) as names:
        yield names


def cachex(place: str) -> Opened:
    """Open django-cachex with its tracking."""
    options = {"tracking": {"max_bytes": MEMORY}}
    return backend("django_cachex.cache.RedisCache", LOCATION=place, OPTIONS=options)


def tiered(near: str | None) -> Callable[[str], Opened]:
    """Return an `open` for TieredCache with this near tier."""

    @contextlib.contextmanager
    def opened(place: str) -> Iterator[Names]:
        options = {"NEAR": near, **({"MAX_MEMORY": MEMORY} if near else {})}
        if near == "shared":
            options["NEAR_LOCATION"] = str(near_file(place))
        with backend("nearcache.django.TieredCache", LOCATION=place, OPTIONS=options) as names:
            cache = names["cache"]
            cache.set("ready", 1)
            deadline = time.monotonic() + READY_SECONDS
            # Copies are kept once the listener is connected.
            while near and time.monotonic() < deadline and cache.stats().remote.near_hits == 0:
                cache.get("ready")
                time.sleep(0.001)
            yield names

    return opened


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


# Which server is found, Redis or Valkey, stands in the versions.
SERVER = {"redis-server": "--version"}
MAPPING = Spelling(set="cache[key] = value")

BASELINE = "locmem"
OURS = "nearcache"
SHARED = "shared"
REMOTE = "redis"
TIERED, TIERED_SHARED, TIERED_REMOTE = "tiered", "tiered-shared", "tiered-remote"
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
            note='MAX_MEMORY and OBJECT_CACHE "256MB", in /dev/shm; shared by processes, survives restarts',
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
            REMOTE,
            "RedisCache",
            redis,
            ("redis",),
            ("redis", "hiredis"),
            SERVER,
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
            "django-redis",
            "django-redis",
            django_redis,
            ("django_redis", "hiredis"),
            ("django-redis", "hiredis"),
            SERVER,
            place=redis_place,
            tiers=True,
            note="with hiredis; the same server",
        ),
        Rival(
            "redis-client-cache",
            "redis-py cache",
            redis_client_cache,
            ("redis.cache", "hiredis"),
            ("redis", "hiredis"),
            SERVER,
            place=redis_place,
            near=True,
            tiers=True,
            note="Django's RedisCache with redis-py's client-side cache: OPTIONS protocol 3 and "
            "cache_config; its check for Redis 7.4 is overridden",
        ),
        Rival(
            "cachex",
            "django-cachex",
            cachex,
            ("django_cachex",),
            ("django-cachex",),
            SERVER,
            place=redis_place,
            python=(3, 14),
            near=True,
            tiers=True,
            note="with its tracking",
        ),
        *(
            Rival(
                name,
                f"TieredCache {near}",
                tiered(near),
                ("nearcache.django",),
                ("nearcache",),
                SERVER,
                place=near_place,
                near=near is not None,
                tiers=True,
                hint="`make build` builds it",
                note=f"NEAR {near!r}",
            )
            for name, near in ((TIERED_REMOTE, None), (TIERED, "local"), (TIERED_SHARED, "shared"))
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
