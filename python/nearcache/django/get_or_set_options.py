"""The options of ``get_or_set`` beyond Django's arguments, and their checks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypedDict

from nearcache import _core

REFRESH = ("caller", "background")


class GetOrSetOptions(TypedDict, total=False):
    """The options that ``get_or_set`` accepts, for type checkers. None stands for the default."""

    stale: float | None
    refresh: Literal["caller", "background"] | None
    early: float | None
    jitter: float | None
    lock_timeout: float | None
    store_if: Callable[[Any], bool] | None
    distributed: bool | None


def check_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options that are not None, numbers as floats. Raises `TypeError` or `ValueError`."""
    checked = {}
    for name, value in options.items():
        check = _CHECKS.get(name)
        if check is None:
            raise TypeError(f"{name!r} is not an option of get_or_set; expected {', '.join(_CHECKS)}")
        if value is not None:
            checked[name] = check(name, value)
    return checked


def check_early(name: str, value: object) -> float:
    """Returns the beta of XFetch as a float. Raises `TypeError` or `ValueError`, which name it."""
    return _check_number(name, value, "a number, 0 or more")


def check_fraction(name: str, value: object) -> float:
    """Returns a fraction as a float. Raises `TypeError` or `ValueError`, which name it."""
    accepted = "a fraction, at least 0 and less than 1"
    fraction = _check_number(name, value, accepted)
    if fraction >= 1:
        raise ValueError(f"{name} is {value!r}; expected {accepted}")
    return fraction


def _check_seconds(name: str, value: object) -> float:
    return _check_number(name, value, "a number of seconds, 0 or more")


def _check_number(name: str, value: object, accepted: str) -> float:
    number = None if isinstance(value, bool) else _core.real_number(value)
    if number is None:
        raise TypeError(f"{name} is {value!r} ({type(value).__name__}); expected {accepted}")
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{name} is {value!r}; expected {accepted}")
    return number


def _check_refresh(name: str, value: object) -> str:
    accepted = " or ".join(map(repr, REFRESH))
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r} ({type(value).__name__}); expected {accepted}")
    if value not in REFRESH:
        raise ValueError(f"{name} is {value!r}; expected {accepted}")
    return value


def _check_predicate(name: str, value: object) -> object:
    if not callable(value):
        raise TypeError(
            f"{name} is {value!r} ({type(value).__name__}); expected a function of the value, or None"
        )
    return value


def _check_bool(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} is {value!r} ({type(value).__name__}); expected True or False")
    return value


_CHECKS: dict[str, Callable[[str, object], object]] = {
    "stale": _check_seconds,
    "refresh": _check_refresh,
    "early": check_early,
    "jitter": check_fraction,
    "lock_timeout": _check_seconds,
    "store_if": _check_predicate,
    "distributed": _check_bool,
}
