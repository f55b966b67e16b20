"""Checks the cache in which the cache middleware stores responses (W016)."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning

from nearcache.django.aliases import is_backend
from nearcache.django.shared import SharedCache

_MIDDLEWARES = (
    "django.middleware.cache.UpdateCacheMiddleware",
    "django.middleware.cache.CacheMiddleware",
)


def check_responses(**kwargs: Any) -> list[CheckMessage]:
    """Warns of a cache middleware whose SharedCache refuses responses, because they need pickle."""
    alias = settings.CACHE_MIDDLEWARE_ALIAS
    params = settings.CACHES.get(alias, {})
    if not any(name in settings.MIDDLEWARE for name in _MIDDLEWARES):
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
