"""``manage.py nearcache``: look into our caches, and take things out of them."""

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
from nearcache.django.management.arguments import declare
from nearcache.django.management.file_listing import HEADS, CacheFile, as_json_object, find_files, row, total
from nearcache.django.management.formatting import aligned, counted, listed, shown
from nearcache.django.management.key_listing import KeyListing
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
    """``manage.py nearcache stats|keys|get|delete|clear|verify|files``."""

    help = "Shows what nearcache's caches hold and have counted, and takes entries out of them."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the actions."""
        declare(parser)

    def handle(self, *, action: str, **options: Any) -> None:
        """Run an action."""
        try:
            if action == "files":
                self._files(**options)
            else:
                self._run(action, **options)
            self.stdout.flush()
        except (ImproperlyConfigured, TimeoutError) as error:  # a stopped process may hold a part of a file
            raise CommandError(str(error)) from error
        except BrokenPipeError:
            # The reader, such as `head`, has what it wants. Python flushes once more at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _run(self, action: str, *, aliases: list[str] | None, every: bool, **options: Any) -> None:
        ours = nearcache_aliases(SharedCache) if every and action == "verify" else nearcache_aliases()
        takes_all = every or (action == "stats" and not aliases and ours)
        chosen = _opened(ours if takes_all else aliases or ["default"])
        if not chosen and action != "verify":
            raise CommandError("CACHES has no cache of nearcache.")
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
                f"own. This command sees {'the one' if one else 'those'} of its own process (pid "
                f"{os.getpid()}), and can neither see nor change those of other processes, such as the "
                "site's workers."
            )

    def _note_new_files(self, chosen: Mapping[str, Backend]) -> None:
        for alias, cache in chosen.items():
            if isinstance(cache, SharedCache) and cache.was_missing:
                self._note(
                    f"{cache.path}, the file of {alias!r}, did not exist until this command created it, so "
                    "a running site uses another one. Run the command as the site's user (this is uid "
                    f"{os.geteuid()}) and with the site's settings."
                )

    def _stats(self, chosen: Mapping[str, Backend], as_json: bool) -> None:
        found = {alias: cache.stats() for alias, cache in chosen.items()}
        if as_json:
            told = {alias: {name: getattr(stats, name) for name in FIELDS} for alias, stats in found.items()}
            self._write_json(told)
            return
        rows = [
            [name.replace("_", " "), *(_figure(name, stats) for stats in found.values())]
            for name in FIELDS
            if name not in _OF_SHARED or any(getattr(stats, name) is not None for stats in found.values())
        ]
        self._write_table([["", *map(shown, found)], *rows])
        for alias, cache in chosen.items():
            if isinstance(cache, SharedCache):
                self.stdout.write(f"{shown(alias)} is the file {cache.path}")

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
                self.stdout.write(f"{'-' if left is None else left:>10}  {shown(key)}")
        else:
            for key in keys:
                self.stdout.write(shown(key))
        self.stdout.flush()  # before what goes to stderr
        self._note_left_out(alias, found)

    def _note_left_out(self, alias: str, found: KeyListing) -> None:
        least = "" if found.ended else "at least "
        if found.others:
            self._note(
                f"left out {least}{counted(found.others, 'key')} of {alias!r} with another version or "
                "KEY_PREFIX; --key-version takes another version."
            )
        if found.hidden:
            self._note(
                f"hid {least}{counted(found.hidden, 'session key')} of {alias!r}: one is enough to take "
                "over a session. --show-sessions shows them."
            )

    def _get(
        self, alias: str, cache: Backend, *, as_json: bool, key_version: int | None, key: str, **_: Any
    ) -> None:
        missing = object()
        value, ttl = cache.get(key, missing, key_version), cache.ttl(key, key_version)
        if value is missing:
            if not as_json:
                raise CommandError(f"there is no value under {key!r} in {alias!r}.")
            self._write_json({"key": key, "found": False})
        elif as_json:
            told = {"key": key, "found": True, "ttl": ttl, "type": type(value).__name__}
            self._write_json(told | _json_value(value))
        else:
            rows = [["ttl", "-" if ttl is None else str(ttl)], ["type", type(value).__name__]]
            self._write_table([["key", shown(key)], *rows], right=False)
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
        one = cache.delete_pattern if pattern else cache.delete
        deleted = sum(one(key, version=key_version) for key in keys)
        if as_json:
            self._write_json({"deleted": deleted})
        else:
            self.stdout.write(f"deleted {counted(deleted, 'entry', 'entries')} of {alias!r}")

    def _clear(self, chosen: Mapping[str, Backend], as_json: bool) -> None:
        told = {}
        for alias, cache in chosen.items():
            entries = cache.stats().entries
            cache.clear()
            told[alias] = {"cleared": entries}
            if not as_json:
                self.stdout.write(f"cleared {counted(entries, 'entry', 'entries')} of {alias!r}")
        if as_json:
            self._write_json(told)

    def _verify(self, chosen: Mapping[str, Backend], as_json: bool) -> None:
        shared = {alias: cache for alias, cache in chosen.items() if isinstance(cache, SharedCache)}
        local = [alias for alias in chosen if alias not in shared]
        if local or not shared:
            raise CommandError(_nothing_to_verify(local))
        told: dict[str, dict[str, object]] = {}
        faults = []
        for alias, cache in shared.items():
            told[alias] = {"file": str(cache.path)}
            try:
                counts = asdict(cache.verify())
            except ValueError as error:
                told[alias]["error"] = str(error)
                faults.append(f"{alias!r} is damaged: {cache.path}: {error}")
                continue
            told[alias].update(counts)
            if not as_json:
                self.stdout.write(f"{alias!r} is valid: {cache.path}")
                self._write_table([[name, f"{number:,}"] for name, number in counts.items()])
        if as_json:
            self._write_json(told)
        if faults:
            raise CommandError("\n".join(faults))

    def _files(self, *, as_json: bool, remove: bool, **_: Any) -> None:
        files, problems = find_files()
        for problem in problems:
            self._note(problem)
        removed = [file for file in files if remove and file.remove()]
        if as_json:
            self._write_json([as_json_object(file, file in removed) for file in files])
        elif remove:
            for file in removed:
                self.stdout.write(f"removed {shown(str(file.path))}")
            left = len(files) - len(removed)
            self.stdout.write(f"removed {total(removed)}; {counted(left, 'file is', 'files are')} in use")
        else:
            self._list_files(files)

    def _list_files(self, files: list[CacheFile]) -> None:
        if not files:
            self.stdout.write(f"this user (uid {os.geteuid()}) has no cache files")
            return
        self._write_table([HEADS, *map(row, files)])
        unused = [file for file in files if not file.in_use]
        if unused:
            self.stdout.write(f"unused: {total(unused)}; delete with --remove")

    def _write_table(self, rows: list[list[str]], *, right: bool = True) -> None:
        for line in aligned(rows, right=right):
            self.stdout.write(line)

    def _write_json(self, told: object) -> None:
        self.stdout.write(json.dumps(told, indent=2))


def _opened(aliases: list[str]) -> dict[str, Backend]:
    """Return our caches of these aliases. Raises `CommandError` if they are not ours."""
    ours = nearcache_aliases()
    unknown = [alias for alias in aliases if alias not in ours]
    if unknown:
        raise CommandError(
            f"CACHES has no nearcache {'cache' if len(unknown) == 1 else 'caches'} {listed(unknown)}. "
            f"Those of nearcache are: {', '.join(ours) or 'none'}."
        )
    return {alias: cache for alias in aliases if isinstance(cache := caches[alias], Backend)}


def _nothing_to_verify(local: list[str]) -> str:
    shared = nearcache_aliases(SharedCache)
    there = f"the SharedCaches in CACHES are: {', '.join(shared) or 'none'}."
    if not local:
        return there
    return f"{listed(local)} {'has' if len(local) == 1 else 'have'} no file to verify; {there}"


def _figure(name: str, stats: Stats) -> str:
    """Return a number of `stats` as people read it."""
    value: float | None = getattr(stats, name)
    if value is None:
        return "-"
    if name == "hit_ratio":
        return f"{value:.1%}"
    if "memory" in name or name in {"written", "moved"}:
        return f"{value / 1024:,.1f} KB"
    return f"{value:,.1f} s" if name == "age" else f"{value:,}"


def _json_value(value: object) -> dict[str, object]:
    """Return a value as Django writes it in JSON or, where that cannot be, as Python writes it."""
    try:
        return {"value": json.loads(json.dumps(value, cls=DjangoJSONEncoder, allow_nan=False))}
    except (TypeError, ValueError, RecursionError):
        return {"repr": repr(value)}
