"""``manage.py nearcache``: inspects nearcache caches and deletes entries and files.

The command parses the arguments, opens the caches and calls the action in
`nearcache.django.management.actions`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser

from nearcache.django.aliases import nearcache_aliases
from nearcache.django.backend import Backend
from nearcache.django.local import LocalCache
from nearcache.django.management.actions import clear, delete, files, get, keys, stats, verify
from nearcache.django.management.arguments import add_actions
from nearcache.django.management.formatting import listed
from nearcache.django.management.output import Output
from nearcache.django.shared import SharedCache
from nearcache.django.tiered import TieredCache

_ACTIONS_ON_CACHES = {"stats": stats.run, "clear": clear.run, "verify": verify.run}
_ACTIONS_ON_ONE_CACHE: dict[str, Any] = {"keys": keys.run, "get": get.run, "delete": delete.run}


class Command(BaseCommand):
    """Implements ``manage.py nearcache stats|keys|get|delete|clear|verify|files``."""

    help = "Shows statistics, keys and values of nearcache caches, and deletes entries and files."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Adds the actions to the parser."""
        add_actions(parser)

    def handle(self, *, action: str, **options: Any) -> None:
        """Runs an action. Raises `CommandError` if it fails."""
        output = Output(self.stdout, self.stderr, self.style.WARNING)
        try:
            if action == "files":
                files.run(output, **options)
            else:
                _run_on_caches(output, action, **options)
            output.flush()
        # TimeoutError: a stopped process holds a lock. NotImplementedError: the REMOTE lacks a method.
        except (ImproperlyConfigured, TimeoutError, NotImplementedError) as error:
            raise CommandError(str(error)) from error
        except BrokenPipeError:
            # The reader, such as `head`, closed the pipe. Python flushes stdout at exit, which must not fail.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run_on_caches(
    output: Output, action: str, *, aliases: list[str] | None, every: bool, **options: Any
) -> None:
    """Opens the chosen caches, writes notes about them, and runs an action on them."""
    available = nearcache_aliases(SharedCache) if every and action == "verify" else nearcache_aliases()
    use_all = every or (action == "stats" and not aliases and available)
    chosen = _open(available if use_all else aliases or ["default"])
    if not chosen and action != "verify":
        raise CommandError("CACHES has no nearcache cache.")
    _note_local_caches(output, [alias for alias, cache in chosen.items() if isinstance(cache, LocalCache)])
    _note_new_files(output, chosen)
    if action == "stats":
        _note_tiered_caches(
            output, [alias for alias, cache in chosen.items() if isinstance(cache, TieredCache)]
        )
    if action in _ACTIONS_ON_CACHES:
        _ACTIONS_ON_CACHES[action](output, chosen, **options)
    else:
        ((alias, cache),) = chosen.items()
        _ACTIONS_ON_ONE_CACHE[action](output, alias, cache, **options)


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


def _note_local_caches(output: Output, aliases: list[str]) -> None:
    if aliases:
        one = len(aliases) == 1
        output.note(
            f"{listed(aliases)} {'is a LocalCache' if one else 'are LocalCaches'}: each process has its "
            f"own. This command uses {'the one' if one else 'those'} of its own process (pid "
            f"{os.getpid()}). It cannot see or change those of other processes, such as the workers of "
            "the site."
        )


def _note_tiered_caches(output: Output, aliases: list[str]) -> None:
    if aliases:
        output.note(
            f"{listed(aliases)} {'is a TieredCache' if len(aliases) == 1 else 'are TieredCaches'}: each "
            f"process counts for itself. These are the counts of this command's process (pid {os.getpid()}), "
            "not those of other processes, such as the workers of the site."
        )


def _note_new_files(output: Output, chosen: Mapping[str, Backend]) -> None:
    for alias, cache in chosen.items():
        if isinstance(cache, SharedCache) and cache.was_missing:
            output.note(
                f"{cache.path}, the file of {alias!r}, did not exist, and this command created it. If "
                "the site is running, it uses another file: run the command as the user of the site "
                f"(this is uid {os.geteuid()}) and with the settings of the site."
            )
