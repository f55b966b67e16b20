"""Django cache backends and the tools around them.

- `LocalCache`: a backend for one process, a replacement for LocMemCache.
- `SharedCache`: a backend for all processes of one machine.
- `TieredCache`: a backend for several machines: near copies before a Redis or Valkey server.
- `nearcache.django.errors`: the exceptions of a `TieredCache` whose server fails.
- `Lock`, `AsyncLock`: the locks that ``cache.lock`` and ``cache.alock`` return. They raise `LockError` and
  `LockNotOwnedError`.
- `Verification`: the result of `SharedCache.verify`.
- `cached`: a decorator that keeps the results of a function in a cache.
- `cache`, `caches`: faster, typed replacements for ``django.core.cache.cache`` and ``caches``.
- `cache_page`: Django's decorator of the same name, with single flight and stale pages.
- `nearcache.django.traced`: the same backends with every method as a Python function.
- `nearcache.django.prometheus`: metrics for Prometheus; needs the extra ``nearcache[prometheus]``.

With ``"nearcache.django"`` in ``INSTALLED_APPS``, Django has the system checks of `nearcache.django.checks`
and the command ``manage.py nearcache``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nearcache.django.local import LocalCache
from nearcache.django.locks import AsyncLock, Lock, LockError, LockNotOwnedError
from nearcache.django.proxy import cache, caches
from nearcache.django.shared import SharedCache, Verification
from nearcache.django.tiered import TieredCache

if TYPE_CHECKING:
    from nearcache.django.cached_functions import cached
    from nearcache.django.pages import cache_page

# Imported when they are used first: they load parts of Django that a backend does not need, such as models.
_LAZY = {"cache_page": "nearcache.django.pages", "cached": "nearcache.django.cached_functions"}

__all__ = [
    "AsyncLock",
    "LocalCache",
    "Lock",
    "LockError",
    "LockNotOwnedError",
    "SharedCache",
    "TieredCache",
    "Verification",
    "cache",
    "cache_page",
    "cached",
    "caches",
]


def __getattr__(name: str) -> Any:
    """Imports a decorator."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_LAZY[name]), name)
    return found
