"""``manage.py nearcache get``: shows the value of a key."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import CommandError
from django.core.serializers.json import DjangoJSONEncoder

from nearcache.django.backend import Backend
from nearcache.django.management.formatting import printable
from nearcache.django.management.output import Output


def run(
    output: Output, alias: str, cache: Backend, *, as_json: bool, key_version: int | None, key: str, **_: Any
) -> None:
    """Writes the remaining seconds, the type and the value. Raises `CommandError` if the key is missing.

    With ``as_json``, a missing key is not an error.
    """
    missing = object()
    value, ttl = cache.get(key, missing, key_version), _ttl(cache, key, key_version)
    if value is missing:
        if not as_json:
            raise CommandError(f"key {key!r} not found in {alias!r}.")
        output.json({"key": key, "found": False})
    elif as_json:
        described = {"key": key, "found": True, "ttl": ttl, "type": type(value).__name__}
        output.json(described | _json_value(value))
    else:
        rows = [["ttl", "-" if ttl is None else str(ttl)], ["type", type(value).__name__]]
        output.table([["key", printable(key)], *rows], right=False)
        output.line(repr(value))


def _ttl(cache: Backend, key: str, version: int | None) -> int | str | None:
    """Returns the remaining seconds; "unknown" if the remote cache of a TieredCache has no ``ttl``."""
    try:
        return cache.ttl(key, version)
    except NotImplementedError:
        return "unknown"


def _json_value(value: object) -> dict[str, object]:
    """Returns a value as JSON or, if it cannot be encoded, its repr."""
    try:
        return {"value": json.loads(json.dumps(value, cls=DjangoJSONEncoder, allow_nan=False))}
    except (TypeError, ValueError, RecursionError):
        return {"repr": repr(value)}
