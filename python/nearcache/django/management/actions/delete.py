"""``manage.py nearcache delete``: deletes entries by key or by pattern."""

from __future__ import annotations

from typing import Any

from nearcache.django.backend import Backend
from nearcache.django.management.formatting import counted
from nearcache.django.management.output import Output


def run(
    output: Output,
    alias: str,
    cache: Backend,
    *,
    as_json: bool,
    key_version: int | None,
    keys: list[str],
    pattern: bool,
    **_: Any,
) -> None:
    """Deletes the entries and writes how many. With ``pattern``, the keys are glob patterns."""
    delete = cache.delete_pattern if pattern else cache.delete
    deleted = sum(delete(key, version=key_version) for key in keys)
    if as_json:
        output.json({"deleted": deleted})
    else:
        output.line(f"deleted {counted(deleted, 'entry', 'entries')} of {alias!r}")
