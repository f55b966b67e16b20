"""How the command writes things for people."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def shown(text: str) -> str:
    """Return a text from a cache so that it cannot play with the terminal."""
    return text if text.isprintable() and text else ascii(text)


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """Return a number with its noun: "1 key", "2 keys"."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def listed(names: Iterable[str]) -> str:
    """Return names as a sentence has them: "'a', 'b' and 'c'"."""
    *some, last = map(repr, names)
    return f"{', '.join(some)} and {last}" if some else last


def aligned(rows: list[list[str]], *, right: bool = True) -> Iterator[str]:
    """Yield the lines of a table; the first column is on the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        cells = [cell.rjust(width) if right else cell for cell, width in zip(rest, widths[1:], strict=True)]
        yield "  ".join([first.ljust(widths[0]), *cells])


def megabytes(size: int) -> str:
    """Return a size as people read it."""
    return f"{size / 1024**2:,.1f} MB"


def age(moment: float | None) -> str:
    """Return how long ago a Unix time was."""
    if moment is None:
        return "-"
    seconds = max(0, time.time() - moment)
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    if seconds < 2 * _DAY:
        return f"{seconds / _HOUR:.0f} h"
    return f"{seconds / _DAY:.0f} days"
