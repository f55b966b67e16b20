"""Checks the cache in which sessions are stored (W001, W002)."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning

from nearcache.django.aliases import is_backend
from nearcache.django.checks.environment import is_single_process
from nearcache.django.local import LocalCache

_HINT = (
    "Use nearcache.django.SharedCache, which all processes of the machine share, or a session engine such "
    "as django.contrib.sessions.backends.db. If the site runs in one process, add '%s' to "
    "SILENCED_SYSTEM_CHECKS."
)


def check_sessions(**kwargs: Any) -> list[CheckMessage]:
    """Warns if sessions are stored in a LocalCache, which other processes cannot see."""
    if is_single_process():
        return []
    alias = settings.SESSION_CACHE_ALIAS
    if not is_backend(settings.CACHES.get(alias, {}).get("BACKEND", ""), LocalCache):
        return []
    if settings.SESSION_ENGINE == "django.contrib.sessions.backends.cache":
        text = (
            f"Sessions are stored in CACHES[{alias!r}], a LocalCache. Each process has its own, so a user is "
            "logged out when another process handles the next request."
        )
        return [Warning(text, hint=_HINT % "nearcache.W001", id="nearcache.W001")]
    if settings.SESSION_ENGINE == "django.contrib.sessions.backends.cached_db":
        text = (
            f"Sessions are cached in CACHES[{alias!r}], a LocalCache. Each process has its own, so a process "
            "may serve a session after another process changed or ended it."
        )
        return [Warning(text, hint=_HINT % "nearcache.W002", id="nearcache.W002")]
    return []
