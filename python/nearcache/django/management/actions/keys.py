"""``manage.py nearcache keys``: lists the keys that match a glob pattern."""

from __future__ import annotations

import itertools
from typing import Any

from nearcache.django.backend import Backend
from nearcache.django.management.formatting import counted, printable
from nearcache.django.management.key_listing import KeyListing
from nearcache.django.management.output import Output


def run(
    output: Output,
    alias: str,
    cache: Backend,
    *,
    as_json: bool,
    key_version: int | None,
    pattern: str,
    limit: int | None,
    ttl: bool | None,
    show_sessions: bool,
    **_: Any,
) -> None:
    """Writes the keys, with their remaining seconds if ``ttl``; notes which keys were left out."""
    listing = KeyListing(cache, pattern, key_version, show_sessions=show_sessions)
    keys = itertools.islice(listing, limit)
    if as_json:
        output.json([{"key": key, "ttl": cache.ttl(key, key_version)} for key in keys])
    elif output.is_terminal if ttl is None else ttl:
        output.line(f"{'ttl':>10}  key")
        for key in keys:
            seconds = cache.ttl(key, key_version)
            output.line(f"{'-' if seconds is None else seconds:>10}  {printable(key)}")
    else:
        for key in keys:
            output.line(printable(key))
    output.flush()  # before the notes, which go to stderr
    _note_left_out(output, alias, listing)


def _note_left_out(output: Output, alias: str, listing: KeyListing) -> None:
    least = "" if listing.ended else "at least "
    if listing.others:
        output.note(
            f"left out {least}{counted(listing.others, 'key')} of {alias!r} with another version or "
            "KEY_PREFIX; use --key-version to list another version."
        )
    if listing.hidden:
        output.note(
            f"left out {least}{counted(listing.hidden, 'session key')} of {alias!r}, because a session key "
            "is enough to take over the session; use --show-sessions to list them."
        )
