"""``manage.py nearcache stats``: shows the statistics of caches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nearcache import Stats
from nearcache.django.backend import Backend
from nearcache.django.management.formatting import printable
from nearcache.django.management.output import Output
from nearcache.django.shared import SharedCache

if TYPE_CHECKING:
    from nearcache._core import RemoteStats

# Statistics that only a SharedCache has.
_SHARED_FIELDS = (
    *("unreadable", "recoveries", "damages", "timeouts", "written", "moved"),
    *("object_hits", "object_entries", "object_memory"),
)
# Statistics of the two tiers, which only a TieredCache has.
_REMOTE_FIELDS = (
    *("near_hits", "remote_hits", "remote_misses", "stale_hits", "ignored_errors"),
    *("fills", "refused_unarmed", "refused_invalidated", "refused_excluded", "refused_large"),
    *("invalidations", "flushes", "losses", "epoch", "confirmation_age", "near_open"),
    *("requests", "errors", "reconnects", "connections", "breaker_trips", "breaker_open"),
)
# Names in the table for those that another field has.
_REMOTE_NAMES = {"stale_hits": "stale_near_hits"}
# What `get_or_set` counts.
_FLIGHT_FIELDS = ("flights", "waits", "stale_hits", "refreshes", "failed_refreshes", "time_saved")
_SECONDS = {"age", "confirmation_age", "time_saved"}
# The rows, in this order.
FIELDS = (
    *("hits", "misses", "hit_ratio", "sets", "deletes", "evictions", "expirations", "rejections"),
    *_FLIGHT_FIELDS,
    *("entries", "max_entries", "memory", "max_memory", "age"),
    *_SHARED_FIELDS,
)


def run(output: Output, caches: Mapping[str, Backend], *, as_json: bool, **_: Any) -> None:
    """Writes a table with a column for each cache, or a JSON object by alias."""
    found = {alias: cache.stats() for alias, cache in caches.items()}
    if as_json:
        output.json({alias: _json_object(stats) for alias, stats in found.items()})
        return
    remotes = [_remote(stats) for stats in found.values()]
    rows = [_row(name, list(found.values())) for name in FIELDS]
    rows = [row for row in rows if row[0] not in _SHARED_FIELDS or {*row[1:]} != {"-"}]
    tiers = [_row(name, remotes) for name in _REMOTE_FIELDS]
    rows += [[_REMOTE_NAMES.get(row[0], row[0]), *row[1:]] for row in tiers if {*row[1:]} != {"-"}]
    shown = [[name.replace("_", " "), *cells] for name, *cells in rows]
    output.table([["", *map(printable, found)], *shown])
    for alias, cache in caches.items():
        if isinstance(cache, SharedCache):
            output.line(f"{printable(alias)} is the file {cache.path}")
    output.flush()  # before the notes, which go to stderr
    for alias, remote in zip(found, remotes, strict=True):
        if remote is not None and remote.near_problem is not None:
            output.note(f"the near tier of {alias!r} does not work: {remote.near_problem}")


def _remote(stats: Stats) -> RemoteStats | None:
    """Returns the statistics of the tiers; None where the platform has no TieredCache."""
    return getattr(stats, "remote", None)


def _json_object(stats: Stats) -> dict[str, object]:
    remote = _remote(stats)
    tiers = remote and {name: getattr(remote, name) for name in (*_REMOTE_FIELDS, "near_problem")}
    return {**{name: getattr(stats, name) for name in FIELDS}, "remote": tiers}


def _row(name: str, columns: Sequence[Stats | RemoteStats | None]) -> list[str]:
    """Returns the name of a statistic, and its value for each cache."""
    return [name, *(_formatted(name, getattr(stats, name, None)) for stats in columns)]


def _formatted(name: str, value: float | None) -> str:
    """Returns a statistic with its unit; "-" if the cache does not have it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name == "hit_ratio":
        return f"{value:.1%}"
    if "memory" in name or name in {"written", "moved"}:
        return f"{value / 1024:,.1f} KB"
    return f"{value:,.1f} s" if name in _SECONDS else f"{value:,}"
