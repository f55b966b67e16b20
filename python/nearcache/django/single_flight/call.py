"""One call of ``get_or_set``: its arguments, and the step that it has reached."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nearcache import _core
from nearcache.django.get_or_set_options import check_options

if TYPE_CHECKING:
    from nearcache.django.backend import Backend

# The flight that the running code computes for. A key that it needs is checked for circles of waits.
CURRENT: ContextVar[_core.Flight | None] = ContextVar("nearcache_flight", default=None)


def begin(flight: _core.Flight) -> Token[_core.Flight | None]:
    """Begins a part of a flight's computation; returns the token that ends it, for ``CURRENT.reset``.

    If this is itself part of a computation, that one needs the flight.
    """
    outer = CURRENT.get()
    if outer is not None and outer is not flight:
        flight.needed_by(outer)
    return CURRENT.set(flight)


# What a step says, in its first item. `nearcache._core` has the same numbers.
HIT, STALE, LEAD, WAIT, AGAIN = range(5)

# An old value, and whether it has expired: it has not if it is computed early.
Old = tuple[Any, bool]

# The kind, the value, flight or wait, and the old value, if a leader has one.
Step = tuple[int, Any, "Old | None"]


@dataclass(frozen=True)
class Options:
    """The options of ``get_or_set``; docs/reference/get-or-set.md describes them."""

    stale: float = 0
    refresh: str = "caller"
    early: float = 0
    jitter: float = 0
    lock_timeout: float = 10
    store_if: Callable[[Any], bool] | None = None
    distributed: bool = False

    def replaced(self, given: Mapping[str, Any] | None) -> Options:
        """Returns the options with those that a caller gave; None stands for the default.

        Raises `TypeError` or `ValueError`.
        """
        checked = check_options(given) if given else None
        return dataclasses.replace(self, **checked) if checked else self


@dataclass(slots=True, eq=False)
class Call:
    """The arguments of a call of ``get_or_set``."""

    cache: Backend
    key: Any
    default: Callable[[], Any]
    timeout: Any
    version: Any
    options: Options
    # Whether values are stored and read by the cache's methods, since some of them are overridden.
    by_methods: bool = False
    _deadline: float | None = None

    def deadline(self) -> float:
        """Returns until when the call waits, on the monotonic clock; it is set by the first question."""
        if self._deadline is None:
            self._deadline = time.monotonic() + self.options.lock_timeout
        return self._deadline
