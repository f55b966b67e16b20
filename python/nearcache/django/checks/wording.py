"""Texts that several checks have in common."""

from __future__ import annotations

from collections.abc import Sequence


def listed(aliases: Sequence[str]) -> str:
    """Returns aliases as they are written in the settings: ``CACHES['a'], CACHES['b'] and CACHES['c']``."""
    *some, last = (f"CACHES[{alias!r}]" for alias in aliases)
    return f"{', '.join(some)} and {last}" if some else last
