"""Which of the caches in ``CACHES`` are ours."""

from __future__ import annotations

from django.conf import settings
from django.core.cache import caches
from django.utils.module_loading import import_string

from nearcache.django.local import LocalCache


def is_local(path: str) -> bool:
    """Tell whether a backend is LocalCache or a subclass. What cannot be imported Django reports."""
    try:
        backend = import_string(path)
    except ImportError:
        return False
    return isinstance(backend, type) and issubclass(backend, LocalCache)


def local_caches() -> dict[str, LocalCache]:
    """Return this thread's handles of our caches by alias, in the order of ``CACHES``."""
    ours = [alias for alias, params in settings.CACHES.items() if is_local(params.get("BACKEND", ""))]
    return {alias: cache for alias in ours if isinstance(cache := caches[alias], LocalCache)}
