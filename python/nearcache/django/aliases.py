"""Which of the caches in ``CACHES`` are ours."""

from __future__ import annotations

from django.conf import settings
from django.core.cache import caches
from django.utils.module_loading import import_string

from nearcache.django.backend import Backend


def is_backend(path: str, kind: type[Backend]) -> bool:
    """Tell whether a backend is of this class or a subclass. What cannot be imported Django reports."""
    try:
        backend = import_string(path)
    except ImportError:
        return False
    return isinstance(backend, type) and issubclass(backend, kind)


def nearcache_aliases(kind: type[Backend] = Backend) -> list[str]:
    """Return the aliases of our caches of a class, in the order of ``CACHES``."""
    return [alias for alias, params in settings.CACHES.items() if is_backend(params.get("BACKEND", ""), kind)]


def nearcache_caches() -> dict[str, Backend]:
    """Return this thread's handles of our caches by alias, in the order of ``CACHES``."""
    return {alias: cache for alias in nearcache_aliases() if isinstance(cache := caches[alias], Backend)}
