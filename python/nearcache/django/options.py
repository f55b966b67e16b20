"""The settings of one cache in ``CACHES``: `LocalOptions` and `SharedOptions`.

All settings are checked when the backend is created. An invalid one raises an `ImproperlyConfigured` that
names the setting, its value and what is accepted.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from nearcache.django.option_values import (
    IN_OPTIONS_ONLY,
    MAX_CULL_FREQUENCY,
    Clock,
    invalid,
    read_clock,
    read_flag,
    read_number,
    read_reverse_key_function,
    read_size,
    read_timeout,
)

# Django's default, in seconds.
DEFAULT_TIMEOUT = 300
DEFAULT_MAX_MEMORY = 64 * 1024**2
MIN_MAX_MEMORY = 1024
# Django's default, for a project that sets CULL_FREQUENCY but not MAX_ENTRIES.
DEFAULT_MAX_ENTRIES = 300
# LocMemCache's default; EVICTION "lru" reproduces LocMemCache's eviction.
DEFAULT_LRU_CULL_FREQUENCY = 3

EVICTIONS = ("adaptive", "s3-fifo", "lru")
FLIGHT = ("GET_OR_SET", "JITTER")
LOCAL = ("MAX_ENTRIES", "CULL_FREQUENCY", "MAX_MEMORY", "EVICTION", "CLOCK", "REVERSE_KEY_FUNCTION", *FLIGHT)
SHARED = ("MAX_MEMORY", "MAX_PROCESSES", "OBJECT_CACHE", "PICKLE", "CLOCK", "REVERSE_KEY_FUNCTION", *FLIGHT)
# Options of LocMemCache that a SharedCache accepts and ignores; the check nearcache.W003 warns of them.
WITHOUT_EFFECT = ("MAX_ENTRIES", "CULL_FREQUENCY")

# Bytes of decoded values that a process keeps of a file; see docs/design/shared-django.md.
DEFAULT_OBJECT_CACHE = 8 * 1024**2

MIN_SHARED_MEMORY = 1024**2
MAX_SHARED_MEMORY = 1024**4
# The limit of the file format. A small file has room for fewer.
MAX_SHARED_PROCESSES = 16_384


@dataclass(frozen=True, slots=True)
class LocalOptions:
    """The settings of a `LocalCache`. None as a capacity means unlimited."""

    location: str
    #: Seconds; None for no expiry.
    timeout: int | None
    max_entries: int | None
    #: Bytes.
    max_memory: int | None
    cull_frequency: int | None
    eviction: str
    clock: Clock | None
    reverse_key_function: Callable[[str], str] | None

    @classmethod
    def parse(cls, location: object, params: Mapping[str, Any]) -> LocalOptions:
        """Reads the settings of one cache in ``CACHES``. Raises `ImproperlyConfigured`."""
        if not isinstance(location, str):
            raise invalid("LOCATION", location, "a string")
        options = checked_options(params, "LocalCache", LOCAL)
        eviction = options.get("EVICTION", EVICTIONS[0])
        if eviction not in EVICTIONS:
            raise invalid("EVICTION", eviction, "'adaptive', 's3-fifo' or 'lru'")
        # Django also accepts these two beside OPTIONS, in lower case.
        max_entries = read_number("MAX_ENTRIES", params.get("max_entries", options.get("MAX_ENTRIES")), 1)
        cull_frequency = read_number(
            "CULL_FREQUENCY",
            params.get("cull_frequency", options.get("CULL_FREQUENCY")),
            0,
            MAX_CULL_FREQUENCY,
        )
        if cull_frequency is not None and max_entries is None:
            max_entries = DEFAULT_MAX_ENTRIES
        if max_entries is not None and cull_frequency is None and eviction == "lru":
            cull_frequency = DEFAULT_LRU_CULL_FREQUENCY
        # If only MAX_ENTRIES is set, memory is unlimited, as in LocMemCache.
        default_memory = DEFAULT_MAX_MEMORY if max_entries is None else None
        return cls(
            location=location,
            timeout=timeout(params),
            max_entries=max_entries,
            max_memory=read_size("MAX_MEMORY", options.get("MAX_MEMORY", default_memory), MIN_MAX_MEMORY),
            cull_frequency=cull_frequency,
            eviction=eviction,
            clock=read_clock(options.get("CLOCK")),
            reverse_key_function=reverse_key_function(params, options),
        )


@dataclass(frozen=True, slots=True)
class SharedOptions:
    """The settings of a `SharedCache`."""

    location: str
    #: Seconds; None for no expiry.
    timeout: int | None
    #: Bytes; None if it is not set: the default depends on the file system (`file_size.default_size`).
    max_memory: int | None
    max_processes: int | None
    #: Bytes; 0 for none.
    object_cache: int
    #: Whether values may be pickles.
    pickle: bool
    clock: Clock | None
    reverse_key_function: Callable[[str], str] | None

    @classmethod
    def parse(cls, location: object, params: Mapping[str, Any]) -> SharedOptions:
        """Reads the settings of one cache in ``CACHES``. Raises `ImproperlyConfigured`."""
        if isinstance(location, Path):
            location = str(location)
        if not isinstance(location, str):
            raise invalid("LOCATION", location, "a name or an absolute path")
        options = checked_options(params, "SharedCache", SHARED, WITHOUT_EFFECT)
        max_memory = None
        if "MAX_MEMORY" in options:
            size = options["MAX_MEMORY"]
            max_memory = read_size("MAX_MEMORY", size, MIN_SHARED_MEMORY, MAX_SHARED_MEMORY)
            if max_memory is None:
                raise invalid("MAX_MEMORY", None, "the size of the file, such as '64MB'")
        return cls(
            location=location,
            timeout=timeout(params),
            max_memory=max_memory,
            max_processes=read_number("MAX_PROCESSES", options.get("MAX_PROCESSES"), 1, MAX_SHARED_PROCESSES),
            object_cache=object_cache(options),
            pickle=read_flag("PICKLE", options.get("PICKLE", True)),
            clock=read_clock(options.get("CLOCK")),
            reverse_key_function=reverse_key_function(params, options),
        )


def object_cache(options: Mapping[str, Any]) -> int:
    """Reads ``OBJECT_CACHE``, in bytes; None is 0. Raises `ImproperlyConfigured`."""
    return read_size("OBJECT_CACHE", options.get("OBJECT_CACHE", DEFAULT_OBJECT_CACHE), 0) or 0


def timeout(params: Mapping[str, Any]) -> int | None:
    """Reads ``TIMEOUT``, in seconds. Raises `ImproperlyConfigured`."""
    return read_timeout(params.get("timeout", params.get("TIMEOUT", DEFAULT_TIMEOUT)))


def reverse_key_function(
    params: Mapping[str, Any], options: Mapping[str, Any]
) -> Callable[[str], str] | None:
    """Reads ``REVERSE_KEY_FUNCTION``. Raises `ImproperlyConfigured`."""
    # django-redis reads it beside OPTIONS, where Django reads KEY_FUNCTION.
    function = params.get("REVERSE_KEY_FUNCTION", options.get("REVERSE_KEY_FUNCTION"))
    return read_reverse_key_function(function)


def checked_options(
    params: Mapping[str, Any], backend: str, names: tuple[str, ...], ignored: tuple[str, ...] = ()
) -> Mapping[str, Any]:
    """Returns ``OPTIONS`` if it is a mapping whose names are all known. Raises `ImproperlyConfigured`."""
    options = params.get("OPTIONS", {})
    if not isinstance(options, Mapping):
        raise invalid("OPTIONS", options, "a dictionary")
    for name in IN_OPTIONS_ONLY:
        if name in params:
            raise ImproperlyConfigured(
                f"nearcache: {name} is beside OPTIONS, where it has no effect; expected it in OPTIONS."
            )
    for name in options:
        if name not in names + ignored:
            matches = difflib.get_close_matches(str(name).upper(), names, n=1)
            suggestion = f" Did you mean {matches[0]!r}?" if matches else ""
            raise ImproperlyConfigured(
                f"nearcache: OPTIONS has the unknown name {name!r}.{suggestion} {backend} accepts "
                f"{', '.join(names)}."
            )
    return options
