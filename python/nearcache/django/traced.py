"""Our caches with every method a Python function, for tools that look into functions.

    CACHES = {"default": {"BACKEND": "nearcache.django.traced.LocalCache"}}

In `nearcache.django.LocalCache` and `SharedCache`, ``get``, ``set``, ``add`` and ``delete`` are C methods:
ddtrace, ``mock.patch.object(..., autospec=True)`` and ``typing.get_type_hints`` cannot look into them. Here
they are functions, and ``get_many``, ``set_many`` and ``delete_many`` call them for each key, as Django's own
do. Both kinds of cache share their stores: only the methods differ.
"""

from __future__ import annotations

from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT

from nearcache import _core
from nearcache.django import local, shared
from nearcache.django.backend import Backend

__all__ = ["LocalCache", "SharedCache"]


class _Functions(Backend):
    """The methods that are C's elsewhere."""

    def get(self, key: Any, default: Any = None, version: Any = None) -> Any:
        """Return the value stored under a key, or ``default``."""
        return _core.Backend.get(self, key, default, version)

    def set(  # type: ignore[override]  # one signature for the engine's overloads
        self,
        key: Any,
        value: Any,
        timeout: Any = DEFAULT_TIMEOUT,
        version: Any = None,
        *,
        nx: bool = False,
        xx: bool = False,
    ) -> bool | None:
        """Store a value for ``timeout`` seconds; None is no expiry.

        With ``nx`` only if there is none under the key, with ``xx`` only if there is one. Returns None, or
        with either of the two whether it stored the value. Raises ValueError for both at once.
        """
        return _core.Backend.set(self, key, value, timeout, version, nx=nx, xx=xx)

    def add(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> bool:
        """Store a value if there is none under the key; return whether it did. Atomic."""
        return _core.Backend.add(self, key, value, timeout, version)

    def delete(self, key: Any, version: Any = None) -> bool:
        """Remove a value; return whether there was one."""
        return _core.Backend.delete(self, key, version)


class LocalCache(_Functions, local.LocalCache):
    """A `nearcache.django.LocalCache` that tools can look into."""


class SharedCache(_Functions, shared.SharedCache):
    """A `nearcache.django.SharedCache` that tools can look into."""
