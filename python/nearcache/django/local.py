"""`LocalCache`: the cache of one process.

The methods a request waits for (``get``, ``set``, ``incr``, ``get_many`` ...) are Rust's, in
``nearcache._core``. Here is what need not be fast: the setting up, and the ``a...`` methods, which call their
plain twins at once, since nothing waits.
"""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Iterable, Mapping
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.core.exceptions import ImproperlyConfigured

from nearcache import _core
from nearcache.django.options import LocalOptions


class LocalCache(_core.LocalCache, BaseCache):
    """Values in the memory of this process, for all of its threads, bounded and evicted by use.

    Takes the place of ``django.core.cache.backends.locmem.LocMemCache`` and behaves as it does: a value that
    comes out is never shared with the one inside, and ``LOCATION`` names the store. See the README for the
    options.

    Subclasses may override any method, and any may be assigned on an instance. What a live instance calls by
    itself (``make_key`` in ``get``, ``get`` in ``get_many``) it does not notice being replaced on its class.
    """

    pickle_protocol = pickle.HIGHEST_PROTOCOL
    # As Django's, but None is "no such bound". Assigning them on a live cache takes effect.
    _max_entries: int | None  # type: ignore[assignment]
    _max_memory: int | None
    _cull_frequency: int | None  # type: ignore[assignment]

    def __init__(self, name: str, params: dict[str, Any]) -> None:
        """Open the store called ``name``. Raises `ImproperlyConfigured` for bad options."""
        options = LocalOptions.parse(name, params)
        super().__init__(params)
        self._max_entries = options.max_entries
        self._max_memory = options.max_memory
        self._cull_frequency = options.cull_frequency
        try:
            self._open(options.location, options.eviction, options.clock)
        except ValueError as error:
            raise ImproperlyConfigured(f"nearcache: {error}") from error

    # These five are Python's around Rust's: Django 6.1 asks them for their `__func__`, which Rust's have not.

    def get_many(self, keys: Iterable[Any], version: Any = None) -> dict[Any, Any]:
        """Return a dict of those of the keys that there are values for."""
        return _core.LocalCache.get_many(self, keys, version)

    def set_many(
        self, data: Mapping[Any, Any], timeout: Any = DEFAULT_TIMEOUT, version: Any = None
    ) -> list[Any]:
        """Store every value of a dict; return a list of the keys whose values were too large."""
        return _core.LocalCache.set_many(self, data, timeout, version)

    def delete_many(self, keys: Iterable[Any], version: Any = None) -> None:
        """Remove the values of all these keys."""
        _core.LocalCache.delete_many(self, keys, version)

    def has_key(self, key: Any, version: Any = None) -> bool:
        """Return whether there is a value under a key."""
        return _core.LocalCache.has_key(self, key, version)

    def incr(self, key: Any, delta: Any = 1, version: Any = None) -> Any:
        """Add ``delta`` to a value, atomically, keeping its expiry; return the sum.

        Raises ValueError if there is no value, and whatever the addition raises.
        """
        return _core.LocalCache.incr(self, key, delta, version)

    async def aget(self, key: Any, default: Any = None, version: Any = None) -> Any:
        """See get()."""
        return self.get(key, default, version)

    async def aset(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> None:
        """See set()."""
        self.set(key, value, timeout, version)

    async def aadd(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> bool:
        """See add()."""
        return self.add(key, value, timeout, version)

    async def atouch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> bool:
        """See touch()."""
        return self.touch(key, timeout, version)

    async def adelete(self, key: Any, version: Any = None) -> bool:
        """See delete()."""
        return self.delete(key, version)

    async def ahas_key(self, key: Any, version: Any = None) -> bool:
        """See has_key()."""
        return self.has_key(key, version)

    async def aincr(self, key: Any, delta: Any = 1, version: Any = None) -> Any:
        """See incr(). Atomic."""
        return self.incr(key, delta, version)

    async def adecr(self, key: Any, delta: Any = 1, version: Any = None) -> Any:
        """See decr(). Atomic."""
        return self.decr(key, delta, version)

    async def aget_many(self, keys: Iterable[Any], version: Any = None) -> dict[Any, Any]:
        """See get_many()."""
        return self.get_many(keys, version)

    async def aset_many(
        self, data: Mapping[Any, Any], timeout: Any = DEFAULT_TIMEOUT, version: Any = None
    ) -> list[Any]:
        """See set_many()."""
        return self.set_many(data, timeout, version)

    async def adelete_many(self, keys: Iterable[Any], version: Any = None) -> None:
        """See delete_many()."""
        self.delete_many(keys, version)

    async def aclear(self) -> None:
        """See clear()."""
        self.clear()

    async def aincr_version(self, key: Any, delta: Any = 1, version: Any = None) -> Any:
        """See incr_version()."""
        return self.incr_version(key, delta, version)

    async def adecr_version(self, key: Any, delta: Any = 1, version: Any = None) -> Any:
        """See decr_version()."""
        return self.decr_version(key, delta, version)

    async def aclose(self, **kwargs: Any) -> None:
        """See close()."""
        self.close(**kwargs)

    async def aget_or_set(
        self, key: Any, default: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None
    ) -> Any:
        """See get_or_set(). A default that is a coroutine function, or returns an awaitable, is awaited."""
        value = await self.aget(key, self._missing_key, version=version)
        if value is not self._missing_key:
            return value
        if callable(default):
            default = default()
        if inspect.isawaitable(default):
            default = await default
        await self.aadd(key, default, timeout=timeout, version=version)
        # Another caller may have been faster.
        return await self.aget(key, default, version=version)
