"""The options of ``get_or_set`` beyond Django's arguments, and their checks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypedDict

from nearcache import _core

REFRESH = ("caller", "background")


class GetOrSetOptions(TypedDict, total=False):
    """The options that ``get_or_set`` accepts, for type checkers."""

    stale: float
    refresh: Literal["caller", "background"]
    early: float
    jitter: float
    lock_timeout: float
    store_if: Callable[[Any], bool] | None
    distributed: bool


def check_options(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the given options if all are valid. Raises `TypeError` or `ValueError`."""
    for name, value in options.items():
        check = _CHECKS.get(name)
        if check is None:
            raise TypeError(f"{name!r} is not an option of get_or_set; expected {', '.join(_CHECKS)}")
        check(name, value)
    return options


def _check_seconds(name: str, value: object) -> None:
    _check_number(name, value, "a number of seconds, 0 or more")


def _check_early(name: str, value: object) -> None:
    _check_number(name, value, "a number, 0 or more")


def _check_fraction(name: str, value: object) -> None:
    accepted = "a fraction, at least 0 and less than 1"
    if _check_number(name, value, accepted) >= 1:
        raise ValueError(f"{name} is {value!r}; expected {accepted}")


def _check_number(name: str, value: object, accepted: str) -> float:
    number = None if isinstance(value, bool) else _core.real_number(value)
    if number is None:
        raise TypeError(f"{name} is {value!r} ({type(value).__name__}); expected {accepted}")
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{name} is {value!r}; expected {accepted}")
    return number


def _check_refresh(name: str, value: object) -> None:
    accepted = " or ".join(map(repr, REFRESH))
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r} ({type(value).__name__}); expected {accepted}")
    if value not in REFRESH:
        raise ValueError(f"{name} is {value!r}; expected {accepted}")


def _check_predicate(name: str, value: object) -> None:
    if value is not None and not callable(value):
        raise TypeError(
            f"{name} is {value!r} ({type(value).__name__}); expected a function of the value, or None"
        )


def _check_bool(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{name} is {value!r} ({type(value).__name__}); expected True or False")


_CHECKS: dict[str, Callable[[str, object], None]] = {
    "stale": _check_seconds,
    "refresh": _check_refresh,
    "early": _check_early,
    "jitter": _check_fraction,
    "lock_timeout": _check_seconds,
    "store_if": _check_predicate,
    "distributed": _check_bool,
}
