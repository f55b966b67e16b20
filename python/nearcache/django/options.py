"""What a project may write in ``CACHES``, and what it means.

Everything is checked here, when the backend is made: a bad setting is an `ImproperlyConfigured` that names
the option, its value and what is accepted.
"""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any, SupportsIndex

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

# Django's own, in seconds.
DEFAULT_TIMEOUT = 300
DEFAULT_MAX_MEMORY = 64 * 1024**2
MIN_MAX_MEMORY = 1024
# Django's own default, for a project that sets only how much of it goes at once.
DEFAULT_MAX_ENTRIES = 300
# LocMemCache's default, which is part of what "lru" stands for.
DEFAULT_LRU_CULL_FREQUENCY = 3
MAX_CULL_FREQUENCY = 2**32 - 1
MAX_NUMBER = 2**63 - 1
# Characters of a bad value that a message shows.
MAX_SHOWN = 1000

EVICTIONS = ("adaptive", "s3-fifo", "lru")
LOCAL = ("MAX_ENTRIES", "CULL_FREQUENCY", "MAX_MEMORY", "EVICTION", "CLOCK", "REVERSE_KEY_FUNCTION")
SHARED = ("MAX_MEMORY", "MAX_PROCESSES", "CLOCK", "REVERSE_KEY_FUNCTION")
# Ours alone, and nobody reads them elsewhere. Django itself passes over what stands in the wrong place.
IN_OPTIONS_ONLY = ("MAX_MEMORY", "MAX_PROCESSES", "EVICTION", "CLOCK")
# Of LocMemCache's, these have no effect on a SharedCache: a system check says so.
WITHOUT_EFFECT = ("MAX_ENTRIES", "CULL_FREQUENCY")

MIN_SHARED_MEMORY = 1024**2
MAX_SHARED_MEMORY = 1024**4
# The engine's bound; a small file has room for fewer.
MAX_SHARED_PROCESSES = 16_384

_UNITS = {"B": 1, "KB": 1024, "MB": 1024**2, "GB": 1024**3, "TB": 1024**4}
_SIZE = re.compile(r"\s*(\d{1,19}(?:\.\d{1,19})?)\s*(?:B|([KMGT])I?B)\s*", re.IGNORECASE | re.ASCII)

# A clock as the engine wants it: an object and the name of its attribute, looked up anew for every reading.
Clock = tuple[Any, str]


@dataclass(frozen=True, slots=True)
class LocalOptions:
    """The options of a `LocalCache`."""

    location: str
    timeout: int | None
    max_entries: int | None
    max_memory: int | None
    cull_frequency: int | None
    eviction: str
    clock: Clock | None
    reverse_key_function: Callable[[str], str] | None

    @classmethod
    def parse(cls, location: object, params: Mapping[str, Any]) -> LocalOptions:
        """Read one entry of ``CACHES``. Raises `ImproperlyConfigured`."""
        if not isinstance(location, str):
            raise _bad("LOCATION", location, "a string, which names a store of this process")
        options = _options(params, "LocalCache", LOCAL)
        eviction = options.get("EVICTION", EVICTIONS[0])
        if eviction not in EVICTIONS:
            raise _bad("EVICTION", eviction, "'adaptive', 's3-fifo' or 'lru'")
        # Django takes these two beside OPTIONS, too, in lower case.
        max_entries = _max_entries(params.get("max_entries", options.get("MAX_ENTRIES")))
        cull_frequency = _cull_frequency(params.get("cull_frequency", options.get("CULL_FREQUENCY")))
        if cull_frequency is not None and max_entries is None:
            max_entries = DEFAULT_MAX_ENTRIES
        if max_entries is not None and cull_frequency is None and eviction == "lru":
            cull_frequency = DEFAULT_LRU_CULL_FREQUENCY
        # A bound on entries alone is a bound on entries alone, as it is for LocMemCache.
        default_memory = DEFAULT_MAX_MEMORY if max_entries is None else None
        return cls(
            location=location,
            timeout=_timeout(params),
            max_entries=max_entries,
            max_memory=_max_memory(options.get("MAX_MEMORY", default_memory)),
            cull_frequency=cull_frequency,
            eviction=eviction,
            clock=_clock(options.get("CLOCK")),
            # Beside OPTIONS as in django-redis, where Django has KEY_FUNCTION.
            reverse_key_function=_reverse_key_function(
                params.get("REVERSE_KEY_FUNCTION", options.get("REVERSE_KEY_FUNCTION"))
            ),
        )


@dataclass(frozen=True, slots=True)
class SharedOptions:
    """The options of a `SharedCache`."""

    location: str
    timeout: int | None
    # None if it is not set: the default depends on the file system (`location.default_size`).
    max_memory: int | None
    max_processes: int | None
    clock: Clock | None
    reverse_key_function: Callable[[str], str] | None

    @classmethod
    def parse(cls, location: object, params: Mapping[str, Any]) -> SharedOptions:
        """Read one entry of ``CACHES``. Raises `ImproperlyConfigured`."""
        if isinstance(location, Path):
            location = str(location)
        if not isinstance(location, str):
            raise _bad("LOCATION", location, "a name or an absolute path")
        options = _options(params, "SharedCache", SHARED, WITHOUT_EFFECT)
        max_memory = None
        if "MAX_MEMORY" in options:
            max_memory = _max_memory(options["MAX_MEMORY"], MIN_SHARED_MEMORY, MAX_SHARED_MEMORY)
            if max_memory is None:
                raise _bad("MAX_MEMORY", None, "a size, since the file has one: '64MB' is the default")
        return cls(
            location=location,
            timeout=_timeout(params),
            max_memory=max_memory,
            max_processes=_max_processes(options.get("MAX_PROCESSES")),
            clock=_clock(options.get("CLOCK")),
            reverse_key_function=_reverse_key_function(
                params.get("REVERSE_KEY_FUNCTION", options.get("REVERSE_KEY_FUNCTION"))
            ),
        )


def _options(
    params: Mapping[str, Any], backend: str, names: tuple[str, ...], ignored: tuple[str, ...] = ()
) -> Mapping[str, Any]:
    """Return OPTIONS, after a check of its names."""
    options = params.get("OPTIONS", {})
    if not isinstance(options, Mapping):
        raise _bad("OPTIONS", options, "a dictionary")
    for name in IN_OPTIONS_ONLY:
        if name in params:
            raise ImproperlyConfigured(
                f"nearcache: {name} stands beside OPTIONS, where it has no effect: put it into OPTIONS."
            )
    for name in options:
        if name not in names + ignored:
            alike = difflib.get_close_matches(str(name).upper(), names, n=1)
            guess = f" Did you mean {alike[0]!r}?" if alike else ""
            raise ImproperlyConfigured(
                f"nearcache: unknown option {name!r}.{guess} {backend} has {', '.join(names)}."
            )
    return options


def _bad(name: str, value: object, accepted: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"nearcache: {name} is {_shown(value)}, but must be {accepted}.")


def _shown(value: object) -> str:
    """Give a value as text that fits a message."""
    try:
        text = repr(value)
    except ValueError:  # an int of thousands of digits
        return f"a huge {type(value).__name__}"
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def _timeout(params: Mapping[str, Any]) -> int | None:
    """Read TIMEOUT. Django takes 300 for what it cannot read; that would hide a mistake."""
    value = params.get("timeout", params.get("TIMEOUT", DEFAULT_TIMEOUT))
    if value is None:
        return None
    number = _whole_number(value)
    if number is None:
        raise _bad("TIMEOUT", value, "a whole number of seconds, or None for no expiry")
    return number


def _whole_number(value: object) -> int | None:
    """Return the whole number that a setting gives as a number or as text; None if it gives none.

    Accepts ``300``, ``300.0``, ``"300"`` and ``"3e2"``: environment variables are text, ``10e9`` is a float.
    """
    # Not by Decimal's arithmetic, which depends on the context of the thread.
    try:
        if isinstance(value, bool):
            return None
        if isinstance(value, SupportsIndex):
            return operator.index(value)
        if isinstance(value, str) and (number := _int(value)) is not None:
            return number
        if not isinstance(value, (float, Decimal, str)):
            return None
        real = float(value)
    except (TypeError, ValueError):
        return None
    return int(real) if real.is_integer() else None


def _int(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _max_entries(value: object) -> int | None:
    if value is None:
        return None
    number = _whole_number(value)
    if number is None or not 1 <= number <= MAX_NUMBER:
        raise _bad("MAX_ENTRIES", value, "a whole number of at least 1")
    return number


def _cull_frequency(value: object) -> int | None:
    if value is None:
        return None
    number = _whole_number(value)
    if number is None or not 0 <= number <= MAX_CULL_FREQUENCY:
        raise _bad("CULL_FREQUENCY", value, "a whole number of at least 0")
    return number


def _max_processes(value: object) -> int | None:
    if value is None:
        return None
    number = _whole_number(value)
    if number is None or not 1 <= number <= MAX_SHARED_PROCESSES:
        raise _bad("MAX_PROCESSES", value, f"a whole number from 1 to {MAX_SHARED_PROCESSES}")
    return number


def _max_memory(value: object, least: int = MIN_MAX_MEMORY, most: int = MAX_NUMBER) -> int | None:
    if value is None:
        return None
    bounds = f"of at least {least}" if most == MAX_NUMBER else f"from {least} to {most}"
    accepted = f"a whole number of bytes {bounds}, or a text like '64MB' or '1.5GB'"
    if isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        number, prefix = match.groups()
        whole, _, fraction = number.partition(".")
        # In ints: a Decimal's product depends on the context of the thread.
        unit = _UNITS[f"{prefix.upper()}B" if prefix else "B"]
        size: int | None = int(whole + fraction) * unit // 10 ** len(fraction)
    else:
        size = _whole_number(value)
    if size is None or not least <= size <= most:
        raise _bad("MAX_MEMORY", value, accepted)
    return size


def _clock(path: object) -> Clock | None:
    """Find the clock once, to see that it is there; it is looked up anew for every reading."""
    if path is None:
        return None
    accepted = "the dotted path of a function that returns Unix seconds, such as 'time.time'"
    parts = path.split(".") if isinstance(path, str) else []
    if not isinstance(path, str) or len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise _bad("CLOCK", path, accepted)
    module_path, _, name = path.rpartition(".")
    try:
        module = import_module(module_path)
    except ImportError as error:
        raise ImproperlyConfigured(
            f"nearcache: CLOCK is {path!r}, but {module_path!r} cannot be imported: {error}"
        ) from error
    if not callable(getattr(module, name, None)):
        raise _bad("CLOCK", path, accepted)
    return module, name


def _reverse_key_function(function: object) -> Callable[[str], str] | None:
    """Find the function, given itself or by its path, as Django finds KEY_FUNCTION."""
    if function is None:
        return None
    found = function
    if isinstance(function, str):
        try:
            found = import_string(function)
        except ImportError as error:
            raise ImproperlyConfigured(
                f"nearcache: REVERSE_KEY_FUNCTION is {_shown(function)}, which cannot be imported: {error}"
            ) from error
    if not callable(found):
        accepted = "a function of a stored key that returns the key it was made of, or its dotted path"
        raise _bad("REVERSE_KEY_FUNCTION", function, accepted)
    return found
