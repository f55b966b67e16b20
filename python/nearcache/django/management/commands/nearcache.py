"""``manage.py nearcache``: look into our caches, and take things out of them."""

from __future__ import annotations

import itertools
import json
import os
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder

from nearcache import Stats
from nearcache.django.backend import Backend
from nearcache.django.configured import our_caches
from nearcache.django.local import LocalCache
from nearcache.django.shared import SharedCache

# What only a SharedCache counts.
_OF_SHARED = ("unreadable", "recoveries", "damages", "timeouts", "written", "moved")
# What `stats` shows, in this order.
FIELDS = (
    *("hits", "misses", "hit_ratio", "sets", "deletes", "evictions", "expirations", "rejections"),
    *("entries", "max_entries", "memory", "max_memory", "age"),
    *_OF_SHARED,
)


class Command(BaseCommand):
    """``manage.py nearcache stats|keys|get|delete|clear|verify``."""

    help = "Shows what nearcache's caches hold and have counted, and takes entries out of them."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare an action each."""
        actions = parser.add_subparsers(
            dest="action", required=True, metavar="stats|keys|get|delete|clear|verify"
        )

        def action(name: str, text: str, *, version: bool = True) -> ArgumentParser:
            declared = actions.add_parser(name, help=text, description=text)
            which = "every one of ours" if name == "stats" else "default"
            declared.add_argument("--cache", metavar="ALIAS", help=f"an alias in CACHES (default: {which})")
            declared.add_argument(
                "--json", dest="as_json", action="store_true", help="write JSON, for scripts"
            )
            if version:
                declared.add_argument("--key-version", type=int, metavar="N", help="instead of VERSION")
            return declared

        action("stats", "Show what the caches have counted and hold.", version=False)
        keys = action("keys", "List the keys that fit a glob, with the seconds they have to live.")
        keys.add_argument("pattern", nargs="?", default="*", help="as 'user:*' (default: *)")
        keys.add_argument("--limit", type=_limit, metavar="N", help="no more than so many")
        action("get", "Show a value.").add_argument("key")
        delete = action("delete", "Delete entries by their keys.")
        delete.add_argument("keys", nargs="+", metavar="key")
        delete.add_argument("--pattern", action="store_true", help="the keys are globs")
        action("clear", "Delete everything, whatever its prefix and version.", version=False)
        action("verify", "Check the whole file of a SharedCache, while the site runs.", version=False)

    def handle(self, *, action: str, cache: str | None, **options: Any) -> None:
        """Do what is asked of one cache or, for ``stats`` without ``--cache``, of all."""
        ours = our_caches()
        alias = cache or "default"
        if cache is None and action == "stats" and ours:
            chosen = ours
        elif alias in ours:
            chosen = {alias: ours[alias]}
        else:
            listed = ", ".join(ours) or "none"
            raise CommandError(f"there is no nearcache cache {alias!r} in CACHES. Ours there: {listed}.")
        self._tell_of_other_processes([name for name, one in chosen.items() if isinstance(one, LocalCache)])
        self._tell_of_new_files(chosen)
        try:
            if action == "stats":
                self._stats(chosen, options["as_json"])
            else:
                getattr(self, f"_{action}")(chosen[alias], **options)
        except (ImproperlyConfigured, TimeoutError) as error:  # a stopped process may hold a part of a file
            raise CommandError(str(error)) from error

    def _tell_of_other_processes(self, chosen: list[str]) -> None:
        if not chosen:
            return
        many = " and ".join(repr(alias) for alias in chosen)
        note = (
            f"Note: {many} is a LocalCache, which each process has in its own memory. This is about that of "
            f"process {os.getpid()}, which runs this command; what other processes, such as the site's "
            "workers, have in theirs can be neither seen nor changed from here."
        )
        self.stderr.write(note, self.style.WARNING)

    def _tell_of_new_files(self, chosen: Mapping[str, Backend]) -> None:
        for alias, cache in chosen.items():
            if isinstance(cache, SharedCache) and cache.was_missing:
                note = (
                    f"Note: {cache.path}, the file of {alias!r}, was not there until this process made it: "
                    "a site that runs in others has its cache elsewhere. Let the command run as the site's "
                    f"user (this is uid {os.geteuid()}) and with the site's settings."
                )
                self.stderr.write(note, self.style.WARNING)

    def _stats(self, chosen: Mapping[str, Backend], as_json: bool) -> None:
        found = {alias: cache.stats() for alias, cache in chosen.items()}
        if as_json:
            told = {alias: {name: getattr(stats, name) for name in FIELDS} for alias, stats in found.items()}
            self.stdout.write(json.dumps(told, indent=2))
            return
        rows = [
            [name.replace("_", " "), *(_figure(name, stats) for stats in found.values())]
            for name in FIELDS
            if name not in _OF_SHARED or any(getattr(stats, name) is not None for stats in found.values())
        ]
        for line in _aligned([["", *map(_shown, found)], *rows]):
            self.stdout.write(line)
        for alias, cache in chosen.items():
            if isinstance(cache, SharedCache):
                self.stdout.write(f"{_shown(alias)} is the file {cache.path}")

    def _keys(
        self,
        cache: Backend,
        *,
        as_json: bool,
        key_version: int | None,
        pattern: str,
        limit: int | None,
        **_: Any,
    ) -> None:
        keys = itertools.islice(cache.iter_keys(pattern, version=key_version), limit)
        found = ((key, cache.ttl(key, key_version)) for key in keys)
        if as_json:
            self._write_json([{"key": key, "ttl": ttl} for key, ttl in found])
            return
        self.stdout.write(f"{'ttl':>10}  key")
        for key, ttl in found:
            self.stdout.write(f"{'-' if ttl is None else ttl:>10}  {_shown(key)}")

    def _get(self, cache: Backend, *, as_json: bool, key_version: int | None, key: str, **_: Any) -> None:
        missing = object()
        value, ttl = cache.get(key, missing, key_version), cache.ttl(key, key_version)
        if value is missing:
            if not as_json:
                raise CommandError(f"there is no value under {key!r}.")
            self._write_json({"key": key, "found": False})
        elif as_json:
            told = {"key": key, "found": True, "ttl": ttl, "type": type(value).__name__}
            self._write_json(told | _json_value(value))
        else:
            rows = [["ttl", "-" if ttl is None else str(ttl)], ["type", type(value).__name__]]
            for line in _aligned([["key", _shown(key)], *rows], right=False):
                self.stdout.write(line)
            self.stdout.write(repr(value))

    def _delete(
        self,
        cache: Backend,
        *,
        as_json: bool,
        key_version: int | None,
        keys: list[str],
        pattern: bool,
        **_: Any,
    ) -> None:
        one = cache.delete_pattern if pattern else cache.delete
        deleted = sum(one(key, version=key_version) for key in keys)
        self._write_count("deleted", deleted, as_json)

    def _clear(self, cache: Backend, *, as_json: bool, **_: Any) -> None:
        entries = cache.stats().entries
        cache.clear()
        self._write_count("cleared", entries, as_json)

    def _verify(self, cache: Backend, *, as_json: bool, **_: Any) -> None:
        if not isinstance(cache, SharedCache):
            raise CommandError("there is no file to verify: this is no SharedCache.")
        try:
            counted = asdict(cache.verify())
        except ValueError as error:
            raise CommandError(f"{cache.path}: {error}") from error
        if as_json:
            self._write_json({"file": str(cache.path), **counted})
            return
        self.stdout.write(f"{cache.path}: all that has to hold does")
        for line in _aligned([[name, f"{number:,}"] for name, number in counted.items()]):
            self.stdout.write(line)

    def _write_count(self, done: str, count: int, as_json: bool) -> None:
        if as_json:
            self._write_json({done: count})
        else:
            self.stdout.write(f"{done} {count} {'entry' if count == 1 else 'entries'}")

    def _write_json(self, told: object) -> None:
        self.stdout.write(json.dumps(told, indent=2))


def _limit(text: str) -> int:
    """Read ``--limit``: argparse tells of a `ValueError`."""
    number = int(text)
    if number < 0:
        raise ValueError
    return number


def _figure(name: str, stats: Stats) -> str:
    """Give a number of `stats` as people read it."""
    value: float | None = getattr(stats, name)
    if value is None:
        return "-"
    if name == "hit_ratio":
        return f"{value:.1%}"
    if "memory" in name or name in {"written", "moved"}:
        return f"{value / 1024:,.1f} KB"
    return f"{value:,.1f} s" if name == "age" else f"{value:,}"


def _shown(text: str) -> str:
    """Give a text from a cache so that it cannot play with the terminal."""
    return text if text.isprintable() and text else ascii(text)


def _aligned(rows: list[list[str]], *, right: bool = True) -> Iterator[str]:
    """Give the lines of a table; the first column is on the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        cells = [cell.rjust(width) if right else cell for cell, width in zip(rest, widths[1:], strict=True)]
        yield "  ".join([first.ljust(widths[0]), *cells])


def _json_value(value: object) -> dict[str, object]:
    """Give a value as Django writes it in JSON or, where that has nothing for it, as Python writes it."""
    try:
        return {"value": json.loads(json.dumps(value, cls=DjangoJSONEncoder, allow_nan=False))}
    except (TypeError, ValueError, RecursionError):
        return {"repr": repr(value)}
