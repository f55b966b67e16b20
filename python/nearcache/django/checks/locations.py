"""Checks SharedCaches without a ``LOCATION``, whose file name depends on ``SECRET_KEY`` (W010, W011)."""

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
from nearcache.django.checks.wording import listed
from nearcache.django.location import default_name
from nearcache.django.shared import SharedCache

_LOG = logging.getLogger("nearcache")
_NAME_HINT = "a name that no other project of this user has, such as 'mysite-sessions'"
# How long another Python process may take to import the settings.
_IMPORT_TIMEOUT_SECONDS = 20
_PRINT_NAME = "from nearcache.django.location import default_name; print(default_name())"


def check_locations(**kwargs: Any) -> list[CheckMessage]:
    """Warns of caches that share a file unintentionally, and of a file that other processes do not find."""
    unnamed = [
        alias for alias in nearcache_aliases(SharedCache) if not settings.CACHES[alias].get("LOCATION")
    ]
    found: list[CheckMessage] = []
    if len(unnamed) > 1:
        text = (
            f"{listed(unnamed)} are SharedCaches without a LOCATION, so they share one file: clearing one "
            "clears the others."
        )
        hint = f"Give each a LOCATION: {_NAME_HINT}. To share one file, give each the same LOCATION."
        found.append(Warning(text, hint=hint, id="nearcache.W010"))
    # If the file existed, another process had the same SECRET_KEY.
    if any(_was_missing(alias) for alias in unnamed) and _name_changes():
        text = (
            f"{listed(unnamed)} {'is a SharedCache' if len(unnamed) == 1 else 'are SharedCaches'} without a "
            "LOCATION, so the name of the file depends on SECRET_KEY. But SECRET_KEY changes at every start: "
            f"a second Python process that imported {settings.SETTINGS_MODULE!r} got a different one. Each "
            "process would use a separate cache and leave its file behind."
        )
        hint = (
            f"Set LOCATION to {_NAME_HINT}, or set SECRET_KEY to a constant value. `manage.py nearcache "
            "files --remove` deletes the files that no process has open."
        )
        found.append(Warning(text, hint=hint, id="nearcache.W011"))
    return found


def _was_missing(alias: str) -> bool:
    cache = caches[alias]
    return isinstance(cache, SharedCache) and cache.was_missing


def _name_changes() -> bool:
    """Returns whether another Python process that imports the same settings gets another default name."""
    if not isinstance(settings._wrapped, Settings) or not sys.executable:
        return False  # settings.configure() or override_settings(): there is no module to import
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": settings.SETTINGS_MODULE,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    try:
        # Passes the arguments of the command on: settings may depend on them.
        done = subprocess.run(
            [sys.executable, "-c", _PRINT_NAME, *sys.argv[1:]],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_IMPORT_TIMEOUT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        _LOG.info("nearcache: could not check whether SECRET_KEY changes at every start: %s", error)
        return False
    # The settings module may print, too, so the name is on the last line.
    return done.stdout.splitlines()[-1:] != [default_name()]
