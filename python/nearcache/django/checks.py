"""System checks of how ``CACHES`` is used.

Bad options need none: Django's own check makes every cache, so they fail it with an ImproperlyConfigured.

==============  ============================================================================================
nearcache.W001  Sessions are kept in a LocalCache: each process would have its own.
nearcache.W002  Sessions are cached in a LocalCache in front of the database: other processes see stale ones.
==============  ============================================================================================
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning

from nearcache.django.configured import is_local

_HINT = (
    "Use a session engine that all processes share, such as django.contrib.sessions.backends.db, or a cache "
    "that they share. If the site runs in one process only, add '%s' to SILENCED_SYSTEM_CHECKS."
)


def check_sessions(**kwargs: Any) -> list[CheckMessage]:
    """Warn of sessions in a cache that other processes do not see."""
    alias = settings.SESSION_CACHE_ALIAS
    if not is_local(settings.CACHES.get(alias, {}).get("BACKEND", "")):
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
