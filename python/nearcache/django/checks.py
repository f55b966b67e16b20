"""System checks of ``CACHES``.

==============  ============================================================================================
nearcache.E001  An option of a nearcache backend is unknown or has a bad value.
nearcache.W001  Sessions are kept in a LocalCache: each process would have its own.
nearcache.W002  Sessions are cached in a LocalCache in front of the database: other processes see stale ones.
==============  ============================================================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from nearcache.django.local import LocalCache
from nearcache.django.options import LocalOptions

_HINT = (
    "Use a session engine that all processes share, such as django.contrib.sessions.backends.db, or a cache "
    "that they share. If the site runs in one process only, add '%s' to SILENCED_SYSTEM_CHECKS."
)


def check_options(**kwargs: Any) -> list[CheckMessage]:
    """Report what would fail when the cache is used for the first time."""
    errors: list[CheckMessage] = []
    for alias, params in _local_caches():
        try:
            LocalOptions.parse(params.get("LOCATION", ""), params)
        except ImproperlyConfigured as error:
            errors.append(Error(f"CACHES[{alias!r}]: {error}", id="nearcache.E001"))
    return errors


def check_sessions(**kwargs: Any) -> list[CheckMessage]:
    """Warn of sessions in a cache that other processes do not see."""
    alias = settings.SESSION_CACHE_ALIAS
    if alias not in dict(_local_caches()):
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


def _local_caches() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Give the aliases whose backend is LocalCache or a subclass. What cannot be imported Django reports."""
    for alias, params in settings.CACHES.items():
        try:
            backend = import_string(params.get("BACKEND", ""))
        except ImportError:
            continue
        if isinstance(backend, type) and issubclass(backend, LocalCache):
            yield alias, params
