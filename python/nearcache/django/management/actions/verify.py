"""``manage.py nearcache verify``: checks the files of SharedCaches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError

from nearcache.django.aliases import nearcache_aliases
from nearcache.django.backend import Backend
from nearcache.django.management.formatting import listed
from nearcache.django.management.output import Output
from nearcache.django.shared import SharedCache


def run(output: Output, caches: Mapping[str, Backend], *, as_json: bool, **_: Any) -> None:
    """Verifies the files and writes what was counted.

    Checks all of them, then raises `CommandError` if one is damaged. Raises it at once if there is no file.
    """
    shared = {alias: cache for alias, cache in caches.items() if isinstance(cache, SharedCache)}
    local = [alias for alias in caches if alias not in shared]
    if local or not shared:
        raise CommandError(_nothing_to_verify(local))
    results: dict[str, dict[str, object]] = {}
    failures = []
    for alias, cache in shared.items():
        results[alias] = {"file": str(cache.path)}
        try:
            counts = asdict(cache.verify())
        except ValueError as error:
            results[alias]["error"] = str(error)
            failures.append(f"{alias!r} is damaged: {cache.path}: {error}")
            continue
        results[alias].update(counts)
        if not as_json:
            output.line(f"{alias!r} is valid: {cache.path}")
            output.table([name, f"{number:,}"] for name, number in counts.items())
    if as_json:
        output.json(results)
    if failures:
        raise CommandError("\n".join(failures))


def _nothing_to_verify(local: list[str]) -> str:
    shared = nearcache_aliases(SharedCache)
    available = f"the SharedCaches in CACHES are: {', '.join(shared) or 'none'}."
    if not local:
        return f"there is no file to verify; {available}"
    return f"{listed(local)} {'has' if len(local) == 1 else 'have'} no file to verify; {available}"
