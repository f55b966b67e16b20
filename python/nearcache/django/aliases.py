"""Finds the aliases in ``CACHES`` whose backend is a nearcache backend."""

from __future__ import annotations

from django.conf import settings
from django.core.cache import caches
from django.utils.module_loading import import_string

from nearcache.django.backend import Backend


def is_backend(path: str, kind: type[Backend]) -> bool:
    """Returns whether a dotted path names a backend class or a subclass of it.

    False if it cannot be imported; Django reports that error when it opens the cache.
    """
    try:
        backend = import_string(path)
    except ImportError:
        return False
    return isinstance(backend, type) and issubclass(backend, kind)


def nearcache_aliases(kind: type[Backend] = Backend) -> list[str]:
    """Returns the aliases whose backend is ``kind`` or a subclass, in the order of ``CACHES``."""
    return [alias for alias, params in settings.CACHES.items() if is_backend(params.get("BACKEND", ""), kind)]


def nearcache_caches() -> dict[str, Backend]:
    """Returns the nearcache backends of this thread by alias, in the order of ``CACHES``. Opens them."""
    return {alias: cache for alias in nearcache_aliases() if isinstance(cache := caches[alias], Backend)}
