"""Checks of the cache that keeps sessions."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning

from nearcache.django.aliases import is_backend
from nearcache.django.checks.environment import is_single_process
from nearcache.django.local import LocalCache

_HINT = (
    "Use nearcache.django.SharedCache, which all processes of the machine share, or a session engine such "
    "as django.contrib.sessions.backends.db. If the site runs in one process only, add '%s' to "
    "SILENCED_SYSTEM_CHECKS."
)


def check_sessions(**kwargs: Any) -> list[CheckMessage]:
    """Warn of sessions in a cache that other processes do not see."""
    if is_single_process():
        return []
    alias = settings.SESSION_CACHE_ALIAS
    if not is_backend(settings.CACHES.get(alias, {}).get("BACKEND", ""), LocalCache):
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
