"""``manage.py nearcache stats``: shows the statistics of caches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nearcache import Stats
from nearcache.django.backend import Backend
from nearcache.django.management.formatting import printable
from nearcache.django.management.output import Output
from nearcache.django.shared import SharedCache

# Statistics that only a SharedCache has.
_SHARED_FIELDS = ("unreadable", "recoveries", "damages", "timeouts", "written", "moved")
# The rows, in this order.
FIELDS = (
    *("hits", "misses", "hit_ratio", "sets", "deletes", "evictions", "expirations", "rejections"),
    *("entries", "max_entries", "memory", "max_memory", "age"),
    *_SHARED_FIELDS,
)


def run(output: Output, caches: Mapping[str, Backend], *, as_json: bool, **_: Any) -> None:
    """Writes a table with a column for each cache, or a JSON object by alias."""
    found = {alias: cache.stats() for alias, cache in caches.items()}
    if as_json:
        output.json(
            {alias: {name: getattr(stats, name) for name in FIELDS} for alias, stats in found.items()}
        )
        return
    rows = [
        [name.replace("_", " "), *(_formatted(name, stats) for stats in found.values())]
        for name in FIELDS
        if name not in _SHARED_FIELDS or any(getattr(stats, name) is not None for stats in found.values())
    ]
    output.table([["", *map(printable, found)], *rows])
    for alias, cache in caches.items():
        if isinstance(cache, SharedCache):
            output.line(f"{printable(alias)} is the file {cache.path}")


def _formatted(name: str, stats: Stats) -> str:
    """Returns a statistic with its unit; "-" if the cache does not have it."""
    value: float | None = getattr(stats, name)
    if value is None:
        return "-"
    if name == "hit_ratio":
        return f"{value:.1%}"
    if "memory" in name or name in {"written", "moved"}:
        return f"{value / 1024:,.1f} KB"
    return f"{value:,.1f} s" if name == "age" else f"{value:,}"
