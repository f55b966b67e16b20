"""`AliasOptions`: the settings of a `TieredCache` whose remote tier is another cache of ``CACHES``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from nearcache.django.location import default_name
from nearcache.django.option_values import invalid, read_number, read_seconds, read_size
from nearcache.django.options import (
    DEFAULT_MAX_MEMORY,
    MAX_SHARED_MEMORY,
    MAX_SHARED_PROCESSES,
    MIN_MAX_MEMORY,
    MIN_SHARED_MEMORY,
    checked_options,
    object_cache,
)

NEAR_TIERS = ("local", "shared", None)
ON_ERROR = ("raise", "miss")
NAMES = (
    *("REMOTE", "NEAR", "NEAR_TTL", "MAX_MEMORY", "NEAR_LOCATION", "MAX_PROCESSES", "OBJECT_CACHE"),
    "ON_ERROR",
    "GET_OR_SET",
)
# What the remote cache decides. Django gives these beside OPTIONS.
OF_THE_REMOTE = ("TIMEOUT", "KEY_PREFIX", "VERSION", "KEY_FUNCTION", "REVERSE_KEY_FUNCTION")

DEFAULT_NEAR_TTL = 5.0
MAX_SECONDS = 366 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class AliasOptions:
    """The settings of a `TieredCache` with ``OPTIONS["REMOTE"]``."""

    #: The alias of the remote cache.
    remote: str
    near: str | None
    #: Seconds.
    near_ttl: float
    #: Bytes.
    max_memory: int
    max_processes: int | None
    #: Bytes.
    object_cache: int
    #: The ``LOCATION`` of the near tier. Caches with the same remote cache share it.
    near_location: str
    #: The file of the flights, one for each remote cache of a project.
    flights_location: str
    #: What two caches must have in common to share a near tier.
    source: str
    on_error: str

    @classmethod
    def parse(cls, location: object, params: Mapping[str, Any]) -> AliasOptions:
        """Reads the settings of one cache in ``CACHES``. Raises `ImproperlyConfigured`."""
        remote = _remote(params["OPTIONS"]["REMOTE"])
        if location:
            raise ImproperlyConfigured(
                f'nearcache: LOCATION is set, but OPTIONS["REMOTE"] is {remote!r}, whose own LOCATION is '
                "used; expected one of the two."
            )
        for name in OF_THE_REMOTE:
            if name in params or name.lower() in params:
                raise ImproperlyConfigured(
                    f'nearcache: {name} has no effect beside OPTIONS["REMOTE"]; expected it in '
                    f"CACHES[{remote!r}]."
                )
        options = checked_options(params, 'TieredCache with OPTIONS["REMOTE"]', NAMES)
        near = options.get("NEAR", "local")
        if near not in NEAR_TIERS:
            raise invalid("NEAR", near, "'local', 'shared' or None")
        on_error = options.get("ON_ERROR", "raise")
        if on_error not in ON_ERROR:
            raise invalid("ON_ERROR", on_error, "'raise' or 'miss' with OPTIONS[\"REMOTE\"]")
        return cls(
            remote=remote,
            near=near,
            near_ttl=_near_ttl(options),
            max_memory=_max_memory(options, near),
            max_processes=read_number("MAX_PROCESSES", options.get("MAX_PROCESSES"), 1, MAX_SHARED_PROCESSES),
            object_cache=object_cache(options),
            near_location=_near_location(options, remote, near),
            flights_location=_name("flights", remote, default_name()),
            source=_source(remote),
            on_error=on_error,
        )


def has_remote(params: object) -> bool:
    """Returns whether the settings of a cache have an ``OPTIONS["REMOTE"]``."""
    options = params.get("OPTIONS") if isinstance(params, Mapping) else None
    return isinstance(options, Mapping) and options.get("REMOTE") is not None


def _remote(alias: object) -> str:
    """Returns the alias of the remote cache. Raises `ImproperlyConfigured`."""
    if not isinstance(alias, str) or alias not in settings.CACHES:
        raise invalid("REMOTE", alias, f"an alias of CACHES, one of: {', '.join(map(repr, settings.CACHES))}")
    passed = [alias]
    while has_remote(params := settings.CACHES[passed[-1]]):
        following = params["OPTIONS"]["REMOTE"]
        if following in passed:
            raise ImproperlyConfigured(
                f'nearcache: OPTIONS["REMOTE"] is {alias!r}, which leads back to {following!r}; expected the '
                "alias of a cache that keeps its entries itself."
            )
        if following not in settings.CACHES:
            break  # opening that cache raises the error
        passed.append(following)
    return alias


def _near_ttl(options: Mapping[str, Any]) -> float:
    seconds = read_seconds("NEAR_TTL", options.get("NEAR_TTL", DEFAULT_NEAR_TTL), 0.001, MAX_SECONDS)
    if seconds is None:
        raise invalid(
            "NEAR_TTL", None, 'a number of seconds: with OPTIONS["REMOTE"], nothing else ends a near copy'
        )
    return seconds


def _max_memory(options: Mapping[str, Any], near: str | None) -> int:
    least, most = (MIN_SHARED_MEMORY, MAX_SHARED_MEMORY) if near == "shared" else (MIN_MAX_MEMORY, 2**62)
    size = read_size("MAX_MEMORY", options.get("MAX_MEMORY", DEFAULT_MAX_MEMORY), least, most)
    if size is None:
        raise invalid("MAX_MEMORY", None, "the size of the near tier, such as '64MB'")
    return size


def _near_location(options: Mapping[str, Any], remote: str, near: str | None) -> str:
    """Returns the ``LOCATION`` of the near tier: by default, one for each remote cache of a project."""
    location = options.get("NEAR_LOCATION") if near == "shared" else None
    if location is None:
        # The file is in a directory of the user, who may have several projects.
        return _name("near", remote, default_name() if near == "shared" else "")
    if not isinstance(location, (str, Path)) or not str(location):
        raise invalid(
            "NEAR_LOCATION", location, "a name or an absolute path, as the LOCATION of a SharedCache"
        )
    return str(location)


def _name(kind: str, remote: str, project: str) -> str:
    known = _source(remote) + project
    return f"{kind}-{sha256(known.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def _source(remote: str) -> str:
    params = settings.CACHES[remote]
    return repr((remote, params.get("BACKEND"), params.get("LOCATION")))
