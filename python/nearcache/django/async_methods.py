"""The ``a...`` methods: each calls its plain twin at once, in the event loop's own thread: nothing waits.

Only where that may take long, over all keys or for a lock, do other tasks run meanwhile.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Literal, cast, overload

from django.core.cache.backends.base import DEFAULT_TIMEOUT

from nearcache import _core
from nearcache.django.locks import AsyncLock
from nearcache.django.sync_methods import SyncMethods, with_prefix


class AsyncMethods(SyncMethods):
    """The asynchronous half of our caches."""

    async def aget(self, key: Any, default: Any = None, version: Any = None) -> Any:
        """See get()."""
        return self.get(key, default, version)

    @overload
    async def aset(
        self,
        key: Any,
        value: Any,
        timeout: Any = ...,
        version: Any = None,
        *,
        nx: Literal[False] = False,
        xx: Literal[False] = False,
    ) -> None: ...

    @overload
    async def aset(
        self, key: Any, value: Any, timeout: Any = ..., version: Any = None, *, nx: bool = ..., xx: bool = ...
    ) -> bool | None: ...

    async def aset(
        self,
        key: Any,
        value: Any,
        timeout: Any = DEFAULT_TIMEOUT,
        version: Any = None,
        *,
        nx: bool = False,
        xx: bool = False,
    ) -> bool | None:
        """See set()."""
        if nx or xx:
            return self.set(key, value, timeout, version, nx=nx, xx=xx)
        # A set() that was overridden may know Django's arguments only.
        return self.set(key, value, timeout, version)

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

    async def aincr(
        self, key: Any, delta: Any = 1, version: Any = None, *, ignore_key_check: bool = False
    ) -> Any:
        """See incr(). Atomic."""
        if ignore_key_check:
            return self.incr(key, delta, version, ignore_key_check=True)
        # An incr() that was overridden may know Django's arguments only.
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

    async def attl(self, key: Any, version: Any = None) -> int | None:
        """See ttl()."""
        return self.ttl(key, version)

    async def apttl(self, key: Any, version: Any = None) -> int | None:
        """See pttl()."""
        return self.pttl(key, version)

    async def aexpire(self, key: Any, timeout: Any, version: Any = None) -> bool:
        """See expire()."""
        return self.expire(key, timeout, version)

    async def apexpire(self, key: Any, timeout: Any, version: Any = None) -> bool:
        """See pexpire()."""
        return self.pexpire(key, timeout, version)

    async def aexpire_at(self, key: Any, when: Any, version: Any = None) -> bool:
        """See expire_at()."""
        return self.expire_at(key, when, version)

    async def apexpire_at(self, key: Any, when: Any, version: Any = None) -> bool:
        """See pexpire_at()."""
        return self.pexpire_at(key, when, version)

    async def apersist(self, key: Any, version: Any = None) -> bool:
        """See persist()."""
        return self.persist(key, version)

    async def aiter_keys(
        self, search: str, itersize: int | None = None, version: Any = None
    ) -> AsyncIterator[str]:
        """See iter_keys(). Other tasks run after every thousand keys of the store."""
        keys = self.iter_keys(search, itersize, version)
        if not isinstance(keys, _core.KeyIterator):  # a subclass has its own
            for key in keys:
                yield key
            return
        some = keys._next_some()
        while some is not None:
            for key in some:
                yield key
            some = keys._next_some()
            if some is not None:
                await asyncio.sleep(0)

    async def akeys(self, search: str, version: Any = None) -> list[str]:
        """See keys(). Other tasks run after every thousand keys of the store."""
        if self._overrides("keys"):
            return self.keys(search, version)
        return [key async for key in self.aiter_keys(search, version=version)]

    async def adelete_pattern(
        self, pattern: str, version: Any = None, prefix: str | None = None, itersize: int | None = None
    ) -> int:
        """See delete_pattern(). Other tasks run after every thousand keys of the store."""
        if self._overrides("delete_pattern"):
            options = {} if prefix is None else {"prefix": prefix}
            return self.delete_pattern(pattern, version, itersize=itersize, **options)
        cache = self if prefix is None else with_prefix(self, prefix)
        keys = cast("_core.KeyIterator", _core.Backend.iter_keys(cache, pattern, itersize, version))
        deleted = 0
        more = keys._delete_some()
        while more is not None:
            deleted += more
            more = keys._delete_some()
            if more is not None:
                await asyncio.sleep(0)
        return deleted

    def alock(  # noqa: PLR0917 (as lock)
        self,
        key: Any,
        version: Any = None,
        timeout: float | None = None,
        sleep: float = 0.1,
        blocking: bool = True,
        blocking_timeout: float | None = None,
    ) -> AsyncLock:
        """Return a lock for all who share the cache, to be awaited; see `AsyncLock`."""
        return AsyncLock(
            self,
            key,
            version=version,
            timeout=timeout,
            sleep=sleep,
            blocking=blocking,
            blocking_timeout=blocking_timeout,
        )

    async def astats(self) -> _core.Stats:
        """See stats()."""
        return self.stats()

    async def areset_stats(self) -> None:
        """See reset_stats()."""
        self.reset_stats()

    def _overrides(self, method: str) -> bool:
        """Tell whether a method is not ours: a subclass's, or one assigned to the instance."""
        same = getattr(type(self), method) is getattr(SyncMethods, method)
        return not same or method in vars(self)
