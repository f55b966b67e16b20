"""Checks of SharedCaches without a ``LOCATION``, whose file is named after ``SECRET_KEY``."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from typing import Any

from django.conf import Settings, settings
from django.core.cache import caches
from django.core.checks import CheckMessage, Warning

from nearcache.django.aliases import nearcache_aliases
from nearcache.django.location import default_name
from nearcache.django.shared import SharedCache

_LOG = logging.getLogger("nearcache")
_NAMES = "a name that no other project of this user has, such as 'mysite-sessions'"
# How long another Python may take to import the settings.
_TIMEOUT_SECONDS = 20
_PRINT_NAME = "from nearcache.django.location import default_name; print(default_name())"


def check_locations(**kwargs: Any) -> list[CheckMessage]:
    """Warn of caches that share a file by accident, and of a file that no other process will find."""
    unnamed = [
        alias for alias in nearcache_aliases(SharedCache) if not settings.CACHES[alias].get("LOCATION")
    ]
    found: list[CheckMessage] = []
    if len(unnamed) > 1:
        text = (
            f"{_listed(unnamed)} are SharedCaches without a LOCATION, so they share one file: clearing one "
            "clears the others."
        )
        hint = f"Give each a LOCATION: {_NAMES}. To share one file on purpose, give each the same LOCATION."
        found.append(Warning(text, hint=hint, id="nearcache.W010"))
    # A file that was there already shows that another process had the same key.
    if any(_was_missing(alias) for alias in unnamed) and _name_changes():
        text = (
            f"{_listed(unnamed)} {'is a SharedCache' if len(unnamed) == 1 else 'are SharedCaches'} without a "
            "LOCATION, so the file is named after SECRET_KEY, which differs from process to process: a "
            f"second Python that imported {settings.SETTINGS_MODULE!r} got another one. Each process would "
            "have a cache of its own, and leave its file behind."
        )
        hint = (
            f"Set LOCATION to {_NAMES}, or give SECRET_KEY a value that stays. `manage.py nearcache files "
            "--remove` deletes the files that no process has open."
        )
        found.append(Warning(text, hint=hint, id="nearcache.W011"))
    return found


def _listed(aliases: list[str]) -> str:
    *some, last = (f"CACHES[{alias!r}]" for alias in aliases)
    return f"{', '.join(some)} and {last}" if some else last


def _was_missing(alias: str) -> bool:
    cache = caches[alias]
    return isinstance(cache, SharedCache) and cache.was_missing


def _name_changes() -> bool:
    """Tell whether another Python that imports the same settings gives the default file another name."""
    if not isinstance(settings._wrapped, Settings) or not sys.executable:
        return False  # configured by a program, or overridden by a test: there is no module to import
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": settings.SETTINGS_MODULE,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    try:
        # Settings may depend on the command.
        done = subprocess.run(
            [sys.executable, "-c", _PRINT_NAME, *sys.argv[1:]],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        _LOG.info("nearcache: could not find out whether SECRET_KEY changes: %s", error)
        return False
    # Settings may print, too.
    return done.stdout.splitlines()[-1:] != [default_name()]
