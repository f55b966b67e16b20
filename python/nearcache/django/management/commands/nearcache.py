"""``manage.py nearcache``: inspects nearcache caches and deletes entries and files."""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder

from nearcache import Stats
from nearcache.django.aliases import nearcache_aliases
from nearcache.django.backend import Backend
from nearcache.django.local import LocalCache
from nearcache.django.management.arguments import add_actions
from nearcache.django.management.file_listing import (
    HEADINGS,
    CacheFile,
    as_json_object,
    find_files,
    table_row,
    total,
)
from nearcache.django.management.formatting import aligned, counted, listed, printable
from nearcache.django.management.key_listing import KeyListing
from nearcache.django.shared import SharedCache

# Statistics that only a SharedCache has.
_SHARED_FIELDS = ("unreadable", "recoveries", "damages", "timeouts", "written", "moved")
# The rows of `stats`, in this order.
FIELDS = (
    *("hits", "misses", "hit_ratio", "sets", "deletes", "evictions", "expirations", "rejections"),
    *("entries", "max_entries", "memory", "max_memory", "age"),
    *_SHARED_FIELDS,
)


class Command(BaseCommand):
    """Implements ``manage.py nearcache stats|keys|get|delete|clear|verify|files``."""

    help = "Shows statistics, keys and values of nearcache caches, and deletes entries and files."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Adds the actions to the parser."""
        add_actions(parser)

    def handle(self, *, action: str, **options: Any) -> None:
        """Runs an action. Raises `CommandError` if it fails."""
        try:
            if action == "files":
                self._files(**options)
            else:
                self._run(action, **options)
            self.stdout.flush()
        except (ImproperlyConfigured, TimeoutError) as error:  # TimeoutError: a stopped process holds a lock
            raise CommandError(str(error)) from error
        except BrokenPipeError:
            # The reader, such as `head`, closed the pipe. Python flushes stdout again at exit, which must not
            # fail.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _run(self, action: str, *, aliases: list[str] | None, every: bool, **options: Any) -> None:
        available = nearcache_aliases(SharedCache) if every and action == "verify" else nearcache_aliases()
        use_all = every or (action == "stats" and not aliases and available)
        chosen = _open(available if use_all else aliases or ["default"])
        if not chosen and action != "verify":
            raise CommandError("CACHES has no nearcache cache.")
        self._note_local_caches([alias for alias, cache in chosen.items() if isinstance(cache, LocalCache)])
        self._note_new_files(chosen)
        if action in {"stats", "clear", "verify"}:
            getattr(self, f"_{action}")(chosen, options["as_json"])
        else:
            ((alias, cache),) = chosen.items()
            getattr(self, f"_{action}")(alias, cache, **options)

    def _note(self, text: str) -> None:
        self.stderr.write(f"Note: {text}", self.style.WARNING)

    def _note_local_caches(self, aliases: list[str]) -> None:
        if aliases:
            one = len(aliases) == 1
            self._note(
                f"{listed(aliases)} {'is a LocalCache' if one else 'are LocalCaches'}: each process has its "
                f"own. This command uses {'the one' if one else 'those'} of its own process (pid "
                f"{os.getpid()}). It cannot see or change those of other processes, such as the workers of "
                "the site."
            )

    def _note_new_files(self, chosen: Mapping[str, Backend]) -> None:
        for alias, cache in chosen.items():
            if isinstance(cache, SharedCache) and cache.was_missing:
                self._note(
                    f"{cache.path}, the file of {alias!r}, did not exist, and this command created it. If "
                    "the site is running, it uses another file: run the command as the user of the site "
                    f"(this is uid {os.geteuid()}) and with the settings of the site."
                )

    def _stats(self, chosen: Mapping[str, Backend], as_json: bool) -> None:
        found = {alias: cache.stats() for alias, cache in chosen.items()}
        if as_json:
            self._write_json(
                {alias: {name: getattr(stats, name) for name in FIELDS} for alias, stats in found.items()}
            )
            return
        rows = [
            [name.replace("_", " "), *(_formatted(name, stats) for stats in found.values())]
            for name in FIELDS
            if name not in _SHARED_FIELDS or any(getattr(stats, name) is not None for stats in found.values())
        ]
        self._write_table([["", *map(printable, found)], *rows])
        for alias, cache in chosen.items():
            if isinstance(cache, SharedCache):
                self.stdout.write(f"{printable(alias)} is the file {cache.path}")

    def _keys(
        self,
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
        found = KeyListing(cache, pattern, key_version, show_sessions=show_sessions)
        keys = itertools.islice(found, limit)
        if as_json:
            self._write_json([{"key": key, "ttl": cache.ttl(key, key_version)} for key in keys])
        elif self.stdout.isatty() if ttl is None else ttl:
            self.stdout.write(f"{'ttl':>10}  key")
            for key in keys:
                left = cache.ttl(key, key_version)
                self.stdout.write(f"{'-' if left is None else left:>10}  {printable(key)}")
        else:
            for key in keys:
                self.stdout.write(printable(key))
        self.stdout.flush()  # before the notes, which go to stderr
        self._note_left_out(alias, found)

    def _note_left_out(self, alias: str, found: KeyListing) -> None:
        least = "" if found.ended else "at least "
        if found.others:
            self._note(
                f"left out {least}{counted(found.others, 'key')} of {alias!r} with another version or "
                "KEY_PREFIX; use --key-version to list another version."
            )
        if found.hidden:
            self._note(
                f"left out {least}{counted(found.hidden, 'session key')} of {alias!r}, because a session key "
                "is enough to take over the session; use --show-sessions to list them."
            )

    def _get(
        self, alias: str, cache: Backend, *, as_json: bool, key_version: int | None, key: str, **_: Any
    ) -> None:
        missing = object()
        value, ttl = cache.get(key, missing, key_version), cache.ttl(key, key_version)
        if value is missing:
            if not as_json:
                raise CommandError(f"key {key!r} not found in {alias!r}.")
            self._write_json({"key": key, "found": False})
        elif as_json:
            described = {"key": key, "found": True, "ttl": ttl, "type": type(value).__name__}
            self._write_json(described | _json_value(value))
        else:
            rows = [["ttl", "-" if ttl is None else str(ttl)], ["type", type(value).__name__]]
            self._write_table([["key", printable(key)], *rows], right=False)
            self.stdout.write(repr(value))

    def _delete(
        self,
        alias: str,
        cache: Backend,
        *,
        as_json: bool,
        key_version: int | None,
        keys: list[str],
        pattern: bool,
        **_: Any,
    ) -> None:
        delete = cache.delete_pattern if pattern else cache.delete
        deleted = sum(delete(key, version=key_version) for key in keys)
        if as_json:
            self._write_json({"deleted": deleted})
        else:
            self.stdout.write(f"deleted {counted(deleted, 'entry', 'entries')} of {alias!r}")

    def _clear(self, chosen: Mapping[str, Backend], as_json: bool) -> None:
        cleared = {}
        for alias, cache in chosen.items():
            entries = cache.stats().entries
            cache.clear()
            cleared[alias] = {"cleared": entries}
            if not as_json:
                self.stdout.write(f"cleared {counted(entries, 'entry', 'entries')} of {alias!r}")
        if as_json:
            self._write_json(cleared)

    def _verify(self, chosen: Mapping[str, Backend], as_json: bool) -> None:
        shared = {alias: cache for alias, cache in chosen.items() if isinstance(cache, SharedCache)}
        local = [alias for alias in chosen if alias not in shared]
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
                self.stdout.write(f"{alias!r} is valid: {cache.path}")
                self._write_table([[name, f"{number:,}"] for name, number in counts.items()])
        if as_json:
            self._write_json(results)
        if failures:
            raise CommandError("\n".join(failures))

    def _files(self, *, as_json: bool, remove: bool, **_: Any) -> None:
        files, problems = find_files()
        for problem in problems:
            self._note(problem)
        removed = [file for file in files if remove and file.remove()]
        if as_json:
            self._write_json([as_json_object(file, file in removed) for file in files])
        elif remove:
            for file in removed:
                self.stdout.write(f"removed {printable(str(file.path))}")
            left = len(files) - len(removed)
            self.stdout.write(f"removed {total(removed)}; {counted(left, 'file is', 'files are')} in use")
        else:
            self._list_files(files)

    def _list_files(self, files: list[CacheFile]) -> None:
        if not files:
            self.stdout.write(f"this user (uid {os.geteuid()}) has no cache files")
            return
        self._write_table([HEADINGS, *map(table_row, files)])
        unused = [file for file in files if not file.in_use]
        if unused:
            self.stdout.write(f"unused: {total(unused)}; delete with --remove")

    def _write_table(self, rows: list[list[str]], *, right: bool = True) -> None:
        for line in aligned(rows, right=right):
            self.stdout.write(line)

    def _write_json(self, value: object) -> None:
        self.stdout.write(json.dumps(value, indent=2))


def _open(aliases: list[str]) -> dict[str, Backend]:
    """Opens the caches of these aliases. Raises `CommandError` if one is not a nearcache cache."""
    available = nearcache_aliases()
    unknown = [alias for alias in aliases if alias not in available]
    if unknown:
        raise CommandError(
            f"CACHES has no nearcache {'cache' if len(unknown) == 1 else 'caches'} {listed(unknown)}; "
            f"expected one of: {', '.join(available) or 'none'}."
        )
    return {alias: cache for alias in aliases if isinstance(cache := caches[alias], Backend)}


def _nothing_to_verify(local: list[str]) -> str:
    shared = nearcache_aliases(SharedCache)
    available = f"the SharedCaches in CACHES are: {', '.join(shared) or 'none'}."
    if not local:
        return f"there is no file to verify; {available}"
    return f"{listed(local)} {'has' if len(local) == 1 else 'have'} no file to verify; {available}"


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


def _json_value(value: object) -> dict[str, object]:
    """Returns a value as JSON or, if it cannot be encoded, its repr."""
    try:
        return {"value": json.loads(json.dumps(value, cls=DjangoJSONEncoder, allow_nan=False))}
    except (TypeError, ValueError, RecursionError):
        return {"repr": repr(value)}
