"""System checks of how ``CACHES`` is used.

Bad options need none: Django's own check makes every cache, so they fail it with an ImproperlyConfigured.

==============  ============================================================================================
nearcache.W001  Sessions are kept in a LocalCache: each process would have its own.
nearcache.W002  Sessions are cached in a LocalCache in front of the database: other processes see stale ones.
nearcache.W003  A SharedCache has options of LocMemCache's that have no effect on it.
==============  ============================================================================================
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning

from nearcache.django.configured import is_a
from nearcache.django.local import LocalCache
from nearcache.django.options import WITHOUT_EFFECT
from nearcache.django.shared import SharedCache

_HINT = (
    "Use nearcache.django.SharedCache, which all processes of the machine share, or a session engine such "
    "as django.contrib.sessions.backends.db. If the site runs in one process only, add '%s' to "
    "SILENCED_SYSTEM_CHECKS."
)


def check_sessions(**kwargs: Any) -> list[CheckMessage]:
    """Warn of sessions in a cache that other processes do not see."""
    alias = settings.SESSION_CACHE_ALIAS
    if not is_a(settings.CACHES.get(alias, {}).get("BACKEND", ""), LocalCache):
        return []
    if settings.SESSION_ENGINE == "django.contrib.sessions.backends.cache":
        text = (
            f"Sessions are kept in CACHES[{alias!r}], a LocalCache: each process has its own, so a user "
            "would be logged out whenever another process answers."
        )
        return [Warning(text, hint=_HINT % "nearcache.W001", id="nearcache.W001")]
    if settings.SESSION_ENGINE == "django.contrib.sessions.backends.cached_db":
        text = (
            f"Sessions are cached in CACHES[{alias!r}], a LocalCache: each process has its own, so one would "
            "go on serving a session that another has changed or ended."
        )
        return [Warning(text, hint=_HINT % "nearcache.W002", id="nearcache.W002")]
    return []


def check_options(**kwargs: Any) -> list[CheckMessage]:
    """Warn of options that a SharedCache takes and does not heed."""
    found: list[CheckMessage] = []
    for alias, params in settings.CACHES.items():
        if not is_a(params.get("BACKEND", ""), SharedCache):
            continue
        # Django takes them beside OPTIONS, too, in lower case.
        given = {*params.get("OPTIONS", {}), *(name.upper() for name in params if name.islower())}
        idle = [name for name in WITHOUT_EFFECT if name in given]
        if idle:
            text = (
                f"CACHES[{alias!r}] is a SharedCache, which is bounded by its size alone: "
                f"{' and '.join(idle)} {'have' if len(idle) > 1 else 'has'} no effect."
            )
            hint = "Remove it, and say with OPTIONS['MAX_MEMORY'] how much the cache may hold."
            found.append(Warning(text, hint=hint, id="nearcache.W003"))
    return found
