"""Django's side of nearcache.

- `LocalCache`: the backend that takes LocMemCache's place, for one process.
- `SharedCache`: one cache for all processes of the machine.
- `Lock`, `AsyncLock`: what its ``lock`` and ``alock`` return; `LockError`, `LockNotOwnedError`: their errors.
- `cache`, `caches`: Django's, found ten times faster, and typed.
- As an app (``"nearcache.django"`` in ``INSTALLED_APPS``): system checks of how ``CACHES`` is used, and the
  command ``manage.py nearcache``.
- `nearcache.django.traced`: the same caches with every method a Python function, for tools that need it.
- `nearcache.django.prometheus`: metrics, with the extra ``nearcache[prometheus]``.
"""

from nearcache.django.local import LocalCache
from nearcache.django.locks import AsyncLock, Lock, LockError, LockNotOwnedError
from nearcache.django.proxy import cache, caches
from nearcache.django.shared import SharedCache, Verification

__all__ = [
    "AsyncLock",
    "LocalCache",
    "Lock",
    "LockError",
    "LockNotOwnedError",
    "SharedCache",
    "Verification",
    "cache",
    "caches",
]
