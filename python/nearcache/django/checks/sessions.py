"""Checks the cache in which sessions are stored (W001, W002, W014)."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning
from django.core.exceptions import ImproperlyConfigured

from nearcache.django.aliases import is_backend
from nearcache.django.checks.environment import is_single_process
from nearcache.django.local import LocalCache
from nearcache.django.tiered import TieredCache
from nearcache.django.tiered_options import TieredOptions

_CACHE = "django.contrib.sessions.backends.cache"
_CACHED_DB = "django.contrib.sessions.backends.cached_db"
# What the keys of the sessions begin with.
KEY_PREFIXES = {_CACHE: "django.contrib.sessions.cache", _CACHED_DB: "django.contrib.sessions.cached_db"}
_HINT = (
    "Use nearcache.django.SharedCache, which all processes of the machine share, or a session engine such "
    "as django.contrib.sessions.backends.db. If the site runs in one process, add '%s' to "
    "SILENCED_SYSTEM_CHECKS."
)
_OUTAGE_HINT = (
    "Let SESSION_CACHE_ALIAS name a TieredCache with %s, and with the OPTIONS['NEAR'] None. The other caches "
    "can keep their ON_ERROR. If this is intended, add 'nearcache.W014' to SILENCED_SYSTEM_CHECKS."
)


def check_sessions(**kwargs: Any) -> list[CheckMessage]:
    """Warns of sessions in a LocalCache, and in a TieredCache that hides outages of its server."""
    if is_single_process():
        return []
    alias = settings.SESSION_CACHE_ALIAS
    backend = settings.CACHES.get(alias, {}).get("BACKEND", "")
    if is_backend(backend, LocalCache):
        return _in_local_cache(alias)
    return _in_tiered_cache(alias) if is_backend(backend, TieredCache) else []


def _in_local_cache(alias: str) -> list[CheckMessage]:
    if settings.SESSION_ENGINE == _CACHE:
        text = (
            f"Sessions are stored in CACHES[{alias!r}], a LocalCache. Each process has its own, so a user is "
            "logged out when another process handles the next request."
        )
        return [Warning(text, hint=_HINT % "nearcache.W001", id="nearcache.W001")]
    if settings.SESSION_ENGINE == _CACHED_DB:
        text = (
            f"Sessions are cached in CACHES[{alias!r}], a LocalCache. Each process has its own, so a process "
            "may serve a session after another process changed or ended it."
        )
        return [Warning(text, hint=_HINT % "nearcache.W002", id="nearcache.W002")]
    return []


def _in_tiered_cache(alias: str) -> list[CheckMessage]:
    """Warns if users are logged out, or get old sessions, when the server cannot be reached."""
    engine, params = settings.SESSION_ENGINE, settings.CACHES[alias]
    try:
        options = TieredOptions.parse(params.get("LOCATION", ""), params)
    except ImproperlyConfigured:
        return []  # Django's own check reports this error
    may_be_stale = options.on_error == "stale" and _are_copied(options, engine)
    if engine == _CACHE and options.on_error != "raise":
        # Django deletes the cookie of a session that it does not find.
        effect = "all users are logged out for good"
        if may_be_stale:
            effect = (
                "users whose sessions have no near copy are logged out for good, and others get the sessions "
                "that have changed or ended"
            )
        hint = _OUTAGE_HINT % "the OPTIONS['ON_ERROR'] 'raise', or use the session engine cached_db"
    elif engine == _CACHED_DB and may_be_stale:
        effect = "users may get sessions that have changed or ended"
        hint = _OUTAGE_HINT % "the OPTIONS['ON_ERROR'] 'miss', so that sessions are read from the database"
    else:
        return []
    text = (
        f"Sessions are stored in CACHES[{alias!r}], a TieredCache with the OPTIONS['ON_ERROR'] "
        f"{options.on_error!r}. When its server cannot be reached, {effect}."
    )
    return [Warning(text, hint=hint, id="nearcache.W014")]


def _are_copied(options: TieredOptions, engine: str) -> bool:
    """Returns whether sessions have near copies."""
    key = f"{KEY_PREFIXES.get(engine, '')}key"
    return options.near is not None and not any(fnmatchcase(key, glob) for glob in options.near_exclude)
