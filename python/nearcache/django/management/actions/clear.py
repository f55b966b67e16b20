"""``manage.py nearcache clear``: deletes all entries of caches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nearcache.django.backend import Backend
from nearcache.django.management.formatting import counted
from nearcache.django.management.output import Output


def run(output: Output, caches: Mapping[str, Backend], *, as_json: bool, **_: Any) -> None:
    """Clears the caches and writes how many entries each had."""
    cleared = {}
    for alias, cache in caches.items():
        entries = cache.stats().entries
        cache.clear()
        cleared[alias] = {"cleared": entries}
        if not as_json:
            output.line(f"cleared {counted(entries, 'entry', 'entries')} of {alias!r}")
    if as_json:
        output.json(cleared)
