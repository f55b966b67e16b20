"""The cache of a cached function, looked up at every call, so that overridden settings take effect."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured

from nearcache.django.backend import Backend
from nearcache.django.proxy import caches


def backend_of(alias: str) -> Backend:
    """Returns the cache of an alias. Raises `ImproperlyConfigured` if it is not one of nearcache's."""
    cache = caches[alias]
    if not isinstance(cache, Backend):
        raise not_ours(alias, cache)
    return cache


def not_ours(alias: str, cache: object) -> ImproperlyConfigured:
    """Returns the error for an alias with another backend."""
    kind = type(cache)
    return ImproperlyConfigured(
        f"nearcache: @cached uses CACHES[{alias!r}], whose BACKEND is {kind.__module__}.{kind.__qualname__}; "
        "expected nearcache.django.LocalCache, SharedCache or TieredCache"
    )
