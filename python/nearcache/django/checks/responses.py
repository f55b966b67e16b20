"""Checks the cache middleware: its cache (W016), and that its pair is complete (W017)."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning

from nearcache.django.aliases import is_backend
from nearcache.django.shared import SharedCache

_FETCH = "nearcache.django.middleware.FetchFromCacheMiddleware"
_UPDATE = "nearcache.django.middleware.UpdateCacheMiddleware"
_STORING = (
    "django.middleware.cache.UpdateCacheMiddleware",
    "django.middleware.cache.CacheMiddleware",
    _UPDATE,
    "nearcache.django.middleware.CacheMiddleware",
)


def check_responses(**kwargs: Any) -> list[CheckMessage]:
    """Warns of a cache middleware whose SharedCache refuses responses, because they need pickle."""
    alias = settings.CACHE_MIDDLEWARE_ALIAS
    params = settings.CACHES.get(alias, {})
    if not any(name in settings.MIDDLEWARE for name in _STORING):
        return []
    if not is_backend(params.get("BACKEND", ""), SharedCache) or params.get("OPTIONS", {}).get(
        "PICKLE", True
    ):
        return []
    text = (
        f"The cache middleware stores responses in CACHES[{alias!r}], a SharedCache with OPTIONS['PICKLE'] "
        "False. Responses need pickle, so every page that should be stored raises TypeError."
    )
    hint = "Let CACHE_MIDDLEWARE_ALIAS name a cache without this option."
    return [Warning(text, hint=hint, id="nearcache.W016")]


def check_pair(**kwargs: Any) -> list[CheckMessage]:
    """Warns of a ``FetchFromCacheMiddleware`` without the class that ends its flights."""
    if _FETCH not in settings.MIDDLEWARE or _UPDATE in settings.MIDDLEWARE:
        return []
    text = (
        f"MIDDLEWARE has {_FETCH} without {_UPDATE}, which ends its flights: other requests for the same "
        "page may wait until lock_timeout."
    )
    hint = f"Replace django.middleware.cache.UpdateCacheMiddleware by {_UPDATE}."
    return [Warning(text, hint=hint, id="nearcache.W017")]
