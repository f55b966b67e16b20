"""`AliasBase`: what all methods need of the remote cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asgiref.sync import sync_to_async
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache

from nearcache.django.remote_alias.near import Near, open_near
from nearcache.django.remote_alias.options import AliasOptions
from nearcache.django.tiered_methods import TieredMethods


class AliasBase(TieredMethods):
    """Opens both tiers, and finds the methods of the remote cache."""

    _near: Near
    _remote_alias: str
    _on_error: str
    #: The ``LOCATION`` of the near tier. Caches that have it in common share their copies.
    near_location: str
    #: The file of the flights.
    _flights_location: str

    def __init__(self, name: Any, params: dict[str, Any]) -> None:
        """Opens both tiers. Raises `ImproperlyConfigured` if a setting is invalid."""
        options = AliasOptions.parse(name, params)
        self._remote_alias, self._on_error = options.remote, options.on_error
        self.near_location = options.near_location
        self._flights_location = options.flights_location
        self._read_flight_options(params)
        remote = self._remote
        BaseCache.__init__(self, {"timeout": remote.default_timeout})
        # What Django and others read. The remote cache makes its keys by its own.
        self.key_prefix, self.version, self.key_func = remote.key_prefix, remote.version, remote.key_func
        self._max_entries = self._cull_frequency = None
        self._max_memory = options.max_memory
        self._near = open_near(options)
        self._open_as(self._near.copies)  # for stats() and copy.copy()

    @property
    def _remote(self) -> BaseCache:
        """Returns the remote cache of this thread or task. Clients of Memcached belong to one thread."""
        return caches[self._remote_alias]

    def make_key(self, key: Any, version: Any = None) -> str:
        """Returns the stored key of the remote cache."""
        made: str = self._remote.make_key(key, version=version)
        return made

    def _has_remote_method(self, name: str) -> bool:
        """Returns whether the remote cache has a method that Django's caches do not have.

        Only nearcache's backends and django-redis have ``ttl``; it stands for their additional arguments. An
        `AliasBase` has all methods if its own remote cache has them.
        """
        remote = self._remote
        return remote._has_remote_method(name) if isinstance(remote, AliasBase) else hasattr(remote, name)

    def _remote_method(self, name: str) -> Callable[..., Any]:
        """Returns a method of the remote cache. Raises `NotImplementedError`: not all have all."""
        method = getattr(self._remote, name, None)
        if method is None:
            raise self._not_implemented(f"{name}()")
        return method  # type: ignore[no-any-return]

    def _async_remote_method(self, name: str) -> Callable[..., Any]:
        """Returns the asynchronous twin of a method of the remote cache, or the method in a thread."""
        twin = getattr(self._remote, f"a{name}", None)
        return sync_to_async(self._remote_method(name)) if twin is None else twin

    def _not_implemented(self, what: str) -> NotImplementedError:
        kind = type(self._remote)
        return NotImplementedError(
            f"nearcache: {what} is not supported by {kind.__module__}.{kind.__qualname__}, the backend of "
            f'CACHES[{self._remote_alias!r}], which OPTIONS["REMOTE"] names'
        )
