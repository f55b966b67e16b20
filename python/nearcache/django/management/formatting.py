"""Formats values as text for the output of the command."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def printable(text: str) -> str:
    """Returns text in a form that is safe to write to a terminal: quoted and escaped unless all printable."""
    return text if text.isprintable() and text else ascii(text)


def counted(number: int, singular: str, plural: str | None = None) -> str:
    """Returns a number with its noun, such as "1 key" or "2 keys"."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def listed(names: Iterable[str]) -> str:
    """Returns quoted names as an enumeration, such as "'a', 'b' and 'c'"."""
    *some, last = map(repr, names)
    return f"{', '.join(some)} and {last}" if some else last


def aligned(rows: list[list[str]], *, right: bool = True) -> Iterator[str]:
    """Yields the lines of a table. Aligns the first column left and, with ``right``, the others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        cells = [cell.rjust(width) if right else cell for cell, width in zip(rest, widths[1:], strict=True)]
        yield "  ".join([first.ljust(widths[0]), *cells])


def megabytes(size: int) -> str:
    """Returns a number of bytes in megabytes, such as "1.5 MB"."""
    return f"{size / 1024**2:,.1f} MB"


def age(moment: float | None) -> str:
    """Returns the time since a Unix time, such as "5 min"; "-" for None."""
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
