"""Faster, typed replacements for ``django.core.cache.cache`` and ``caches``.

They return the same backend objects: ``caches[alias]`` is ``django.core.cache.caches[alias]`` of the current
thread or asynchronous context, for every backend, and ``cache`` forwards to ``caches["default"]``. Overridden
settings, patched methods and the closing of backends at the end of a request affect both alike. The design is
in docs/design/proxies.md.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from asgiref import local
from django.core.cache import DEFAULT_CACHE_ALIAS
from django.core.cache import CacheHandler as DjangoCacheHandler
from django.core.cache import cache as django_cache
from django.core.cache import caches as django_caches
from django.utils.connection import ConnectionProxy

from nearcache import _core

if TYPE_CHECKING:
    from nearcache.django.backend import Backend

    class TypedCaches(DjangoCacheHandler):
        """The type of `caches` for type checkers: every alias is a nearcache backend."""

        def __getitem__(self, alias: str) -> Backend: ...
        def all(self, initialized_only: bool = False) -> list[Backend]: ...  # type: ignore[override]


__all__ = ["cache", "caches", "speed_up_django"]

STORAGE_SLOTS: Final = ("thread_id", "data")


def find_place(connections: object) -> tuple[ContextVar[Any], type] | None:
    """Returns the context variable in which an asgiref `Local` stores its values, and the type of its value.

    None if the version of asgiref is unknown; the proxies then use Django's own lookup.
    """
    storage = vars(connections).get("_storage")
    if type(storage) is not getattr(local, "_CVar", None):
        return None
    variable = vars(storage).get("_data")
    if type(variable) is not ContextVar:
        return None
    # In some versions of asgiref the value is a dict, in others a `_Storage` that also has the thread id.
    kind = getattr(local, "_Storage", dict)
    if kind is not dict and getattr(kind, "__slots__", None) != STORAGE_SLOTS:
        return None
    return variable, kind


CacheProxy, CacheHandler = _core.fast_types(ConnectionProxy, DjangoCacheHandler, find_place)

# Typed as nearcache backends. For aliases with other backends, use Django's `caches`.
caches: TypedCaches = CacheHandler()
# Shares its attributes with Django's handler, so that both have the same connections and settings.
caches.__dict__ = vars(django_caches)
cache: Backend = CacheProxy(django_caches, DEFAULT_CACHE_ALIAS)


def speed_up_django() -> None:
    """Makes ``django.core.cache.cache`` and ``caches`` themselves faster, for all code that imports them.

    Changes the class of both objects to a subclass; the objects stay the same. The app calls this if
    ``NEARCACHE_FAST_PROXY`` is True.
    """
    object.__setattr__(django_cache, "__class__", CacheProxy)
    object.__setattr__(django_caches, "__class__", CacheHandler)
