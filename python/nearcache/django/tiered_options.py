"""`TieredOptions`: the settings of a `TieredCache` in ``CACHES``."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from django.core.cache.backends.base import default_key_func, get_key_func
from django.core.exceptions import ImproperlyConfigured

from nearcache import _core
from nearcache.django.greenlets import green_wait
from nearcache.django.location import file_for, own_directory
from nearcache.django.option_values import (
    invalid,
    read_flag,
    read_names,
    read_number,
    read_path,
    read_seconds,
    read_size,
    read_text,
)
from nearcache.django.options import (
    DEFAULT_MAX_MEMORY,
    FLIGHT,
    MAX_SHARED_MEMORY,
    MAX_SHARED_PROCESSES,
    MIN_MAX_MEMORY,
    MIN_SHARED_MEMORY,
    checked_options,
    object_cache,
    reverse_key_function,
    timeout,
)
from nearcache.django.single_flight.settings import read_get_or_set

_LOG = logging.getLogger("nearcache")

NEAR_TIERS = ("local", "shared", None)
ON_ERROR = ("raise", "miss", "stale")
CLEAR = ("prefix", "flushdb")
NAMES = (
    *("NEAR", "MAX_MEMORY", "NEAR_TTL", "MAX_STALENESS", "NEAR_EXCLUDE", "NEAR_LOCATION", "MAX_PROCESSES"),
    "OBJECT_CACHE",
    *("ON_ERROR", "CLEAR", "REMOTE", "CONNECT_TIMEOUT", "SOCKET_TIMEOUT", "MAX_CONNECTIONS"),
    *("DB", "USERNAME", "PASSWORD", "TLS_CA", "TLS_CERT", "TLS_KEY", "TLS_VERIFY", "REVERSE_KEY_FUNCTION"),
    *FLIGHT,
)
# The names of Django's RedisCache and redis-py for the same settings.
SYNONYMS = {
    "db": "DB",
    "username": "USERNAME",
    "password": "PASSWORD",
    "socket_timeout": "SOCKET_TIMEOUT",
    "socket_connect_timeout": "CONNECT_TIMEOUT",
    "max_connections": "MAX_CONNECTIONS",
    "ssl_ca_certs": "TLS_CA",
    "ssl_certfile": "TLS_CERT",
    "ssl_keyfile": "TLS_KEY",
}
# Options of Django's RedisCache that choose parts of redis-py.
WITHOUT_EFFECT = ("parser_class", "pool_class")

DEFAULT_NEAR_TTL = 300.0
DEFAULT_MAX_STALENESS = 1.0
LEAST_STALENESS = 0.05
DEFAULT_CONNECT_TIMEOUT = 2.0
DEFAULT_SOCKET_TIMEOUT = 2.0
DEFAULT_MAX_CONNECTIONS = 64
MAX_SECONDS = 366 * 24 * 3600.0

_LOCATIONS = "a URL such as 'redis://localhost:6379/1', or a list of URLs"
# Between two URLs. A URL itself may list hosts, separated by commas.
_SEPARATOR = re.compile(r"[;,]\s*(?=[a-z0-9+]+://)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class TieredOptions:
    """The settings of a `TieredCache`, as the extension module reads them. Times are in seconds."""

    #: They may have passwords.
    locations: list[str] = field(repr=False)
    #: None for no expiry.
    timeout: int | None
    #: The bytes of the near tier.
    max_memory: int
    near: str | None
    #: None: a copy lives as long as the entry.
    near_ttl: float | None
    max_staleness: float
    near_exclude: list[str]
    near_path: Path | None
    near_processes: int | None
    #: The file that says which process of this machine computes a value.
    flights_path: Path | None
    #: Whether get_or_set keeps old values by default.
    has_side_keys: bool
    #: Bytes of copies in a shared file that this process keeps as objects.
    object_cache: int
    on_error: str
    flush_database: bool
    connect_timeout: float
    socket_timeout: float
    max_connections: int
    db: int | None
    username: str | None
    password: str | None = field(repr=False)
    tls_ca: Path | None
    tls_cert: Path | None
    tls_key: Path | None
    tls_verify: bool
    #: What every stored key begins with, as far as it is known.
    key_prefix: str
    reverse_key_function: Callable[[str], str] | None
    green_wait: Callable[[int], object] | None
    #: For tests: the guard of the promise that is left out: "stamp", "gate" or "epoch".
    broken_guard: str | None = None

    @property
    def near_size(self) -> int:
        """The bytes of the shared file."""
        return self.max_memory

    @property
    def source(self) -> object:
        """What two caches must have in common to share a file of near copies."""
        return self.locations, self.db, self.key_prefix

    @property
    def identity(self) -> str:
        """What two caches have in common if they share connections and near copies."""
        functions = {"reverse_key_function", "green_wait", "timeout", "has_side_keys"}
        own = {name: getattr(self, name) for name in self.__slots__ if name not in functions}
        return repr(sorted(own.items()))

    @classmethod
    def parse(cls, location: object, params: Mapping[str, Any]) -> TieredOptions:
        """Reads the settings of one cache in ``CACHES``. Raises `ImproperlyConfigured`."""
        options = _options(params)
        near = options.get("NEAR", "local")
        if near not in NEAR_TIERS:
            raise invalid("NEAR", near, "'local', 'shared' or None")
        locations, key_prefix = _locations(location), _key_prefix(params)
        return cls(
            locations=locations,
            timeout=timeout(params),
            max_memory=_max_memory(options, near),
            near=near,
            near_ttl=read_seconds("NEAR_TTL", options.get("NEAR_TTL", DEFAULT_NEAR_TTL), 0.001, MAX_SECONDS),
            max_staleness=_seconds(
                options, "MAX_STALENESS", DEFAULT_MAX_STALENESS, LEAST_STALENESS, MAX_SECONDS
            ),
            near_exclude=read_names("NEAR_EXCLUDE", options.get("NEAR_EXCLUDE", ())),
            near_path=_near_path(options, locations, key_prefix) if near == "shared" else None,
            flights_path=_flights_path(options, near, locations, key_prefix),
            has_side_keys=_has_side_keys(options),
            near_processes=read_number(
                "MAX_PROCESSES", options.get("MAX_PROCESSES"), 1, MAX_SHARED_PROCESSES
            ),
            object_cache=object_cache(options),
            on_error=_choice(options, "ON_ERROR", ON_ERROR),
            flush_database=_choice(options, "CLEAR", CLEAR) == "flushdb",
            connect_timeout=_seconds(options, "CONNECT_TIMEOUT", DEFAULT_CONNECT_TIMEOUT, 0.001, MAX_SECONDS),
            socket_timeout=_seconds(options, "SOCKET_TIMEOUT", DEFAULT_SOCKET_TIMEOUT, 0.001, MAX_SECONDS),
            max_connections=read_number("MAX_CONNECTIONS", options.get("MAX_CONNECTIONS"), 1, 100_000)
            or DEFAULT_MAX_CONNECTIONS,
            db=read_number("DB", options.get("DB"), 0),
            username=read_text("USERNAME", options.get("USERNAME")),
            password=read_text("PASSWORD", options.get("PASSWORD"), is_secret=True),
            tls_ca=read_path("TLS_CA", options.get("TLS_CA")),
            tls_cert=read_path("TLS_CERT", options.get("TLS_CERT")),
            tls_key=read_path("TLS_KEY", options.get("TLS_KEY")),
            tls_verify=read_flag("TLS_VERIFY", options.get("TLS_VERIFY", True)),
            key_prefix=key_prefix,
            reverse_key_function=reverse_key_function(params, options),
            green_wait=green_wait(),
        )


def _options(params: Mapping[str, Any]) -> dict[str, Any]:
    """Returns ``OPTIONS`` under our names. Raises `ImproperlyConfigured`."""
    given = params.get("OPTIONS", {})
    if isinstance(given, Mapping):
        if "serializer" in given:
            raise ImproperlyConfigured(
                'nearcache: OPTIONS["serializer"] is not supported: TieredCache writes values as Django\'s '
                "RedisSerializer does, integers as text and all others pickled. Remove the option."
            )
        given = {SYNONYMS.get(name, name): value for name, value in given.items()}
    return dict(checked_options({**params, "OPTIONS": given}, "TieredCache", NAMES, WITHOUT_EFFECT))


def _locations(location: object) -> list[str]:
    """Returns the URLs of a ``LOCATION``: a list, or text with URLs separated by commas or semicolons."""
    if isinstance(location, str):
        found = [url.strip() for url in _SEPARATOR.split(location)]
    elif isinstance(location, Iterable):
        found = list(location)
    else:
        found = []
    if not found or found == [""]:
        raise invalid("LOCATION", location, _LOCATIONS)
    for url in found:
        if not isinstance(url, str) or not url:
            # The others, and bytes, may have a password.
            raise ImproperlyConfigured(
                f"nearcache: LOCATION has the element {type(url) if url else url!r}; expected {_LOCATIONS}."
            )
    return found


def _max_memory(options: Mapping[str, Any], near: str | None) -> int:
    least, most = (MIN_SHARED_MEMORY, MAX_SHARED_MEMORY) if near == "shared" else (MIN_MAX_MEMORY, 2**62)
    size = read_size("MAX_MEMORY", options.get("MAX_MEMORY", DEFAULT_MAX_MEMORY), least, most)
    if size is None:
        raise invalid("MAX_MEMORY", None, "the size of the near tier, such as '64MB'")
    return size


def _name(kind: str, options: Mapping[str, Any], locations: list[str], key_prefix: str) -> str:
    """Returns the name of a file: one for each server, database and prefix."""
    known = repr((locations, options.get("DB"), key_prefix)).encode()
    return f"{kind}-{sha256(known).hexdigest()[:16]}"


def _flights_path(
    options: Mapping[str, Any], near: str | None, locations: list[str], key_prefix: str
) -> Path | None:
    """Returns the file of flights; None on a platform without such files."""
    if not hasattr(_core, "inspect_file"):
        return None
    if near == "shared" and options.get("NEAR_LOCATION") is not None:
        return Path(f"{_near_path(options, locations, key_prefix)}.flights")
    return _own_file(own_directory(), _name("flights", options, locations, key_prefix))


@functools.cache
def _own_file(directory: Path, name: str) -> Path | None:
    """Returns the path of a file in this user's directory; None, and a warning once, if there can be none."""
    try:
        return file_for(name)
    except ImproperlyConfigured as error:
        _LOG.warning(
            "nearcache: there is no directory for the file of flights, %s. get_or_set computes once in "
            "each process instead of once on this machine. %s",
            directory,
            error,
        )
        return None


def _has_side_keys(options: Mapping[str, Any]) -> bool:
    """Returns whether ``OPTIONS["GET_OR_SET"]`` asks for old values or early computation."""
    given = read_get_or_set(options)
    return given.stale > 0 or given.early > 0


def _near_path(options: Mapping[str, Any], locations: list[str], key_prefix: str) -> Path:
    """Returns the file of a shared near tier: one for each server, database and prefix."""
    location = options.get("NEAR_LOCATION")
    if location is None:
        location = _name("near", options, locations, key_prefix)
    if not isinstance(location, (str, Path)) or not str(location):
        raise invalid(
            "NEAR_LOCATION", location, "a name or an absolute path, as the LOCATION of a SharedCache"
        )
    return file_for(str(location))


def _seconds(options: Mapping[str, Any], name: str, default: float, least: float, most: float) -> float:
    seconds = read_seconds(name, options.get(name, default), least, most)
    if seconds is None:
        raise invalid(name, None, f"a number of seconds of at least {least}")
    return seconds


def _choice(options: Mapping[str, Any], name: str, accepted: tuple[str, ...]) -> str:
    chosen = options.get(name, accepted[0])
    if chosen not in accepted:
        listed = ", ".join(map(repr, accepted[:-1]))
        raise invalid(name, chosen, f"{listed} or {accepted[-1]!r}")
    return str(chosen)


def _key_prefix(params: Mapping[str, Any]) -> str:
    """Returns what every stored key begins with; an empty text if a function makes the keys."""
    if get_key_func(params.get("KEY_FUNCTION")) is not default_key_func:
        return ""
    prefix = f"{params.get('KEY_PREFIX', '')}:"
    try:
        prefix.encode()
    except UnicodeEncodeError:
        raise invalid("KEY_PREFIX", params["KEY_PREFIX"], "text that can be encoded in UTF-8") from None
    return prefix
