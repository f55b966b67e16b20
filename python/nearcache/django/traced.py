"""The same caches with every method as a Python function, for tools that inspect functions.

    CACHES = {"default": {"BACKEND": "nearcache.django.traced.LocalCache"}}

In `nearcache.django.LocalCache`, `SharedCache` and `TieredCache`, ``get``, ``get_or_set``, ``set``, ``add``
and ``delete`` are C methods, which ddtrace, ``mock.patch.object(..., autospec=True)`` and
``typing.get_type_hints`` cannot inspect. Here they are Python functions, so each call takes longer;
``get_many``, ``set_many`` and ``delete_many`` call them for each key, as Django's do. A cache of this module
and one of `nearcache.django` with the same ``LOCATION`` share their entries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

from django.core.cache.backends.base import DEFAULT_TIMEOUT

from nearcache.django import local, shared, tiered
from nearcache.django.backend import Backend

__all__ = ["LocalCache", "SharedCache", "TieredCache"]


class _Functions(Backend):
    """Defines ``get``, ``get_or_set``, ``set``, ``add`` and ``delete`` as Python functions."""

    def get(self, key: Any, default: Any = None, version: Any = None, *, fresh: bool = False) -> Any:
        """Returns the value of a key, or ``default`` if the key is missing.

        With ``fresh``, a TieredCache asks the server even if it has a near copy.
        """
        return super().get(key, default, version, fresh=fresh)

    def get_or_set(
        self,
        key: Any,
        default: Any,
        timeout: Any = DEFAULT_TIMEOUT,
        version: Any = None,
        *,
        stale: float | None = None,
        refresh: Literal["caller", "background"] | None = None,
        early: float | None = None,
        jitter: float | None = None,
        lock_timeout: float | None = None,
        store_if: Callable[[Any], bool] | None = None,
        distributed: bool | None = None,
    ) -> Any:
        """Returns the value of a key; if there is none, one caller computes and stores it.

        The arguments after ``version`` are described in docs/reference/get-or-set.md. None stands for the
        default, which ``OPTIONS["GET_OR_SET"]`` may set.
        """
        return super().get_or_set(
            key,
            default,
            timeout,
            version,
            stale=stale,
            refresh=refresh,
            early=early,
            jitter=jitter,
            lock_timeout=lock_timeout,
            store_if=store_if,
            distributed=distributed,
        )

    def set(  # type: ignore[override]  # one signature instead of the overloads of _core
        self,
        key: Any,
        value: Any,
        timeout: Any = DEFAULT_TIMEOUT,
        version: Any = None,
        *,
        nx: bool = False,
        xx: bool = False,
    ) -> bool | None:
        """Stores a value for ``timeout`` seconds; None means that it never expires.

        With ``nx``, stores it only if the key is missing; with ``xx``, only if the key is present. In both
        cases returns whether the value was stored; otherwise returns None. Atomic. Raises `ValueError` if
        both are true.
        """
        return super().set(key, value, timeout, version, nx=nx, xx=xx)

    def add(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> bool:
        """Stores a value if the key is missing; returns whether it was stored. Atomic."""
        return super().add(key, value, timeout, version)

    def delete(self, key: Any, version: Any = None) -> bool:
        """Deletes an entry; returns whether the key was found."""
        return super().delete(key, version)

    # These do what the C methods do.
    _plain_methods: ClassVar[Mapping[str, Any]] = {"get": get, "add": add, "set": set}


class LocalCache(_Functions, local.LocalCache):
    """A `nearcache.django.LocalCache` whose methods are all Python functions."""


class SharedCache(_Functions, shared.SharedCache):
    """A `nearcache.django.SharedCache` whose methods are all Python functions."""


class TieredCache(_Functions, tiered.TieredCache):
    """A `nearcache.django.TieredCache` whose methods are all Python functions."""
