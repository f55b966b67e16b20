"""The options of `cache_page` that Django's decorator does not have."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from nearcache import _core

REFRESHES = ("caller", "background")


@dataclass(frozen=True)
class PageOptions:
    """The options, checked. Seconds and fractions are as in ``get_or_set``."""

    stale: float = 0
    refresh: str = "caller"
    early: float = 0
    jitter: float = 0
    lock_timeout: float = 10
    distributed: bool = False

    def __post_init__(self) -> None:
        """Raises `TypeError` or `ValueError` if an option is not accepted."""
        for name in ("stale", "early", "lock_timeout"):
            _check_number(name, getattr(self, name), math.inf)
        _check_number("jitter", self.jitter, 1)
        if self.refresh not in REFRESHES:
            raise ValueError(f'cache_page: refresh is {self.refresh!r}; expected "caller" or "background"')

    @property
    def marks_pages(self) -> bool:
        """Returns whether stored pages must say until when they are fresh."""
        return bool(self.stale or self.early)


def _check_number(name: str, value: Any, most: float) -> None:
    accepted = "a number, 0 or more" if most == math.inf else f"a number from 0 to {most}"
    number = None if isinstance(value, bool) else _core.real_number(value)
    if number is None:
        raise TypeError(f"cache_page: {name} is {value!r} ({type(value).__name__}); expected {accepted}")
    if not math.isfinite(number) or not 0 <= number <= most:
        raise ValueError(f"cache_page: {name} is {value!r}; expected {accepted}")
