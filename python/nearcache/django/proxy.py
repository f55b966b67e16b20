"""Django's ``cache`` and ``caches``, without what it costs to find the backend.

What they lead to are the same objects: ``caches[alias]`` is what ``django.core.cache.caches[alias]`` is in
this thread or asynchronous context, whatever the backend, and ``cache`` stands for ``caches["default"]``.
Settings overridden in tests, patched methods and backends closed at the end of a request are seen by both.
How: docs/design/proxies.md.
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
        """What `caches` is to type checkers: a handler of our caches."""

        def __getitem__(self, alias: str) -> Backend: ...
        def all(self, initialized_only: bool = False) -> list[Backend]: ...  # type: ignore[override]


__all__ = ["cache", "caches", "speed_up_django"]

STORAGE_SLOTS: Final = ("thread_id", "data")


def find_place(connections: object) -> tuple[ContextVar[Any], type] | None:
    """Where a `Local` has its values: the context variable, and the type of what is in it.

    None if that is not known for this version of asgiref; then Django's own code is asked each time.
    """
    storage = vars(connections).get("_storage")
    if type(storage) is not getattr(local, "_CVar", None):
        return None
    variable = vars(storage).get("_data")
    if type(variable) is not ContextVar:
        return None
    # From 3.13 on the values carry the thread they belong to; before they are a dictionary.
    kind = getattr(local, "_Storage", dict)
    if kind is not dict and getattr(kind, "__slots__", None) != STORAGE_SLOTS:
        return None
    return variable, kind


CacheProxy, CacheHandler = _core.fast_types(ConnectionProxy, DjangoCacheHandler, find_place)

# Type checkers see caches of ours. Django's own `caches` is for aliases that lead to other backends.
caches: TypedCaches = CacheHandler()
# One state for both: whatever is set on one is set on the other.
caches.__dict__ = vars(django_caches)
cache: Backend = CacheProxy(django_caches, DEFAULT_CACHE_ALIAS)


def speed_up_django() -> None:
    """Let ``django.core.cache.cache`` and ``caches`` themselves be as fast, for all code that imports them.

    They stay the objects they are, and become of a subclass of their types. The app calls this for the
    setting ``NEARCACHE_FAST_PROXY = True``.
    """
    object.__setattr__(django_cache, "__class__", CacheProxy)
    object.__setattr__(django_caches, "__class__", CacheHandler)
