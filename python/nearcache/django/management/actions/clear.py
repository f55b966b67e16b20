"""``manage.py nearcache clear``: deletes all entries of caches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nearcache.django.backend import Backend
from nearcache.django.management.formatting import counted
from nearcache.django.management.output import Output


def run(output: Output, caches: Mapping[str, Backend], *, as_json: bool, **_: Any) -> None:
    """Clears the caches and writes how many entries each had; for a TieredCache that is not known."""
    cleared = {}
    for alias, cache in caches.items():
        stats = cache.stats()
        # The entries of a TieredCache are its near copies.
        entries = stats.entries if getattr(stats, "remote", None) is None else None
        cache.clear()
        cleared[alias] = {"cleared": entries}
        if not as_json:
            known = "" if entries is None else f"{counted(entries, 'entry', 'entries')} of "
            output.line(f"cleared {known}{alias!r}")
    if as_json:
        output.json(cleared)
