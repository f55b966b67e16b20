"""Readers for the values in ``CACHES``.

Each takes a value as the project wrote it and returns it in the form that the cache uses. If the value is
invalid, it raises an `ImproperlyConfigured` that names the setting, the value and what is accepted.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any, SupportsIndex

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

MAX_CULL_FREQUENCY = 2**32 - 1
MAX_NUMBER = 2**63 - 1
# Length at which an error message truncates an invalid value.
MAX_SHOWN_CHARACTERS = 1000

# These options are read from OPTIONS only. Django ignores unknown names beside OPTIONS.
IN_OPTIONS_ONLY = (
    *("MAX_MEMORY", "MAX_PROCESSES", "OBJECT_CACHE", "PICKLE", "EVICTION", "CLOCK", "GET_OR_SET", "JITTER"),
    *("NEAR", "NEAR_TTL", "MAX_STALENESS", "NEAR_EXCLUDE", "NEAR_LOCATION", "ON_ERROR", "CLEAR", "REMOTE"),
    *("CONNECT_TIMEOUT", "SOCKET_TIMEOUT", "MAX_CONNECTIONS", "DB", "USERNAME", "PASSWORD"),
    *("TLS_CA", "TLS_CERT", "TLS_KEY", "TLS_VERIFY"),
)

_UNITS = {"B": 1, "KB": 1024, "MB": 1024**2, "GB": 1024**3, "TB": 1024**4}
_SIZE = re.compile(r"\s*(\d{1,19}(?:\.\d{1,19})?)\s*(?:B|([KMGT])I?B)\s*", re.IGNORECASE | re.ASCII)

# A module and the name of a function in it. The function is looked up for every reading, so that tests can
# replace it.
Clock = tuple[Any, str]


def invalid(name: str, value: object, accepted: str) -> ImproperlyConfigured:
    """Returns the error for a setting with an invalid value."""
    setting = f'OPTIONS["{name}"]' if name in IN_OPTIONS_ONLY else name
    return ImproperlyConfigured(f"nearcache: {setting} is {_shown(value)}; expected {accepted}.")


def _shown(value: object) -> str:
    """Returns the repr of a value, truncated to a length that fits in an error message."""
    try:
        text = repr(value)
    except ValueError:  # an int with thousands of digits
        return f"a huge {type(value).__name__}"
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}..."


def read_timeout(value: object) -> int | None:
    """Reads ``TIMEOUT``, in seconds. Django silently uses 300 if it cannot read the value; this raises."""
    if value is None:
        return None
    number = _whole_number(value)
    if number is None:
        raise invalid("TIMEOUT", value, "a whole number of seconds, or None for no expiry")
    return number


def _whole_number(value: object) -> int | None:
    """Returns a whole number that is given as a number or as text, or None if it is neither.

    Accepts ``300``, ``300.0``, ``"300"`` and ``"3e2"``: environment variables are text, ``10e9`` is a float.
    """
    # Avoids arithmetic with Decimal, which depends on the decimal context of the thread.
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


def read_number(name: str, value: object, least: int, most: int = MAX_NUMBER) -> int | None:
    """Reads a whole number from ``least`` to ``most``. None stays None."""
    if value is None:
        return None
    number = _whole_number(value)
    if number is None or not least <= number <= most:
        raise invalid(name, value, f"a whole number {_range(least, most)}")
    return number


def read_size(name: str, value: object, least: int, most: int = MAX_NUMBER) -> int | None:
    """Reads a number of bytes, or text with a unit such as ``"64MB"``. None stays None."""
    if value is None:
        return None
    if isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        number, prefix = match.groups()
        whole, _, fraction = number.partition(".")
        # Uses integers: the product of Decimals depends on the decimal context of the thread.
        unit = _UNITS[f"{prefix.upper()}B" if prefix else "B"]
        size: int | None = int(whole + fraction) * unit // 10 ** len(fraction)
    else:
        size = _whole_number(value)
    if size is None or not least <= size <= most:
        accepted = f"a whole number of bytes {_range(least, most)}, or a size such as '64MB' or '1.5GB'"
        raise invalid(name, value, accepted)
    return size


def read_seconds(name: str, value: object, least: float, most: float) -> float | None:
    """Reads a number of seconds, also as text. None stays None."""
    if value is None:
        return None
    seconds = None
    if not isinstance(value, bool) and isinstance(value, (int, float, Decimal, str)):
        try:
            seconds = float(value)
        except (ValueError, OverflowError):
            seconds = None
    if seconds is None or not least <= seconds <= most:
        raise invalid(name, value, f"a number of seconds from {least:g} to {most:g}")
    return seconds


def read_flag(name: str, value: object) -> bool:
    """Reads True or False."""
    if not isinstance(value, bool):
        raise invalid(name, value, "True or False")
    return value


def read_text(name: str, value: object, *, is_secret: bool = False) -> str | None:
    """Reads text. None stays None. The error does not show a secret."""
    if value is None or isinstance(value, str):
        return value
    raise invalid(name, type(value) if is_secret else value, "a string")


def read_path(name: str, value: object) -> Path | None:
    """Reads the path of a file that exists. None stays None."""
    if value is None:
        return None
    if not isinstance(value, (str, Path)) or not Path(value).is_file():
        raise invalid(name, value, "the path of a file")
    return Path(value)


def read_names(name: str, value: object) -> list[str]:
    """Reads a list of texts."""
    if isinstance(value, (list, tuple, set, frozenset)) and all(isinstance(item, str) for item in value):
        return sorted(value)
    raise invalid(name, value, "a list of strings")


def _range(least: int, most: int) -> str:
    return f"of at least {least}" if most == MAX_NUMBER else f"from {least} to {most}"


def read_clock(path: object) -> Clock | None:
    """Reads ``CLOCK``, the dotted path of a function. Imports its module, but does not call it."""
    if path is None:
        return None
    accepted = "the dotted path of a function that returns Unix seconds, such as 'time.time'"
    parts = path.split(".") if isinstance(path, str) else []
    if not isinstance(path, str) or len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise invalid("CLOCK", path, accepted)
    module_path, _, name = path.rpartition(".")
    try:
        module = import_module(module_path)
    except ImportError as error:
        raise ImproperlyConfigured(
            f'nearcache: OPTIONS["CLOCK"] is {path!r}, but {module_path!r} cannot be imported: {error}'
        ) from error
    if not callable(getattr(module, name, None)):
        raise invalid("CLOCK", path, accepted)
    return module, name


def read_reverse_key_function(function: object) -> Callable[[str], str] | None:
    """Reads ``REVERSE_KEY_FUNCTION``: a function or its dotted path, as Django's ``KEY_FUNCTION``."""
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
        accepted = (
            "a function that takes a stored key and returns the key it was made from, or its dotted path"
        )
        raise invalid("REVERSE_KEY_FUNCTION", function, accepted)
    return found
