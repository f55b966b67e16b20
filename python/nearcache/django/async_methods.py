"""The asynchronous cache methods.

Each calls its synchronous counterpart directly, in the thread of the event loop: a cache operation takes less
time than a switch to another thread. Methods that may take long yield to other tasks:
`AsyncMethods.aiter_keys`, `AsyncMethods.akeys` and `AsyncMethods.adelete_pattern` after every step of the
walk, `AsyncLock.acquire` while it waits for the lock.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, cast, overload

from django.core.cache.backends.base import DEFAULT_TIMEOUT

from nearcache import _core
from nearcache.django.locks import AsyncLock
from nearcache.django.sync_methods import SyncMethods, with_prefix

if TYPE_CHECKING:
    from nearcache.django.backend import Backend


class AsyncMethods(SyncMethods):
    """Defines the asynchronous methods of nearcache's backends."""

    async def aget(self, key: Any, default: Any = None, version: Any = None, *, fresh: bool = False) -> Any:
        """Asynchronous `get`."""
        if fresh:
            return self.get(key, default, version, fresh=True)
        # A subclass may override get() with Django's arguments only.
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
        """Asynchronous `set`."""
        if nx or xx:
            return self.set(key, value, timeout, version, nx=nx, xx=xx)
        # A subclass may override set() with Django's arguments only.
        return self.set(key, value, timeout, version)

    async def aadd(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> bool:
        """Asynchronous `add`."""
        return self.add(key, value, timeout, version)

    async def atouch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> bool:
        """Asynchronous `touch`."""
        return self.touch(key, timeout, version)

    async def adelete(self, key: Any, version: Any = None) -> bool:
        """Asynchronous `delete`."""
        return self.delete(key, version)

    async def ahas_key(self, key: Any, version: Any = None) -> bool:
        """Asynchronous `has_key`."""
        return self.has_key(key, version)

    async def aincr(
        self, key: Any, delta: Any = 1, version: Any = None, *, ignore_key_check: bool = False
    ) -> Any:
        """Asynchronous `incr`. Atomic, unlike Django's default implementation."""
        if ignore_key_check:
            return self.incr(key, delta, version, ignore_key_check=True)
        # A subclass may override incr() with Django's arguments only.
        return self.incr(key, delta, version)

    async def adecr(self, key: Any, delta: Any = 1, version: Any = None) -> Any:
        """Asynchronous `decr`. Atomic, unlike Django's default implementation."""
        return self.decr(key, delta, version)

    async def aget_many(self, keys: Iterable[Any], version: Any = None) -> dict[Any, Any]:
        """Asynchronous `get_many`."""
        return self.get_many(keys, version)

    async def aset_many(
        self, data: Mapping[Any, Any], timeout: Any = DEFAULT_TIMEOUT, version: Any = None
    ) -> list[Any]:
        """Asynchronous `set_many`."""
        return self.set_many(data, timeout, version)

    async def adelete_many(self, keys: Iterable[Any], version: Any = None) -> None:
        """Asynchronous `delete_many`."""
        self.delete_many(keys, version)

    async def aclear(self) -> None:
        """Asynchronous `clear`."""
        self.clear()

    async def aincr_version(self, key: Any, delta: Any = 1, version: Any = None) -> Any:
        """Asynchronous `incr_version`."""
        return self.incr_version(key, delta, version)

    async def adecr_version(self, key: Any, delta: Any = 1, version: Any = None) -> Any:
        """Asynchronous `decr_version`."""
        return self.decr_version(key, delta, version)

    async def aclose(self, **kwargs: Any) -> None:
        """Asynchronous `close`."""
        self.close(**kwargs)

    async def attl(self, key: Any, version: Any = None) -> int | None:
        """Asynchronous `ttl`."""
        return self.ttl(key, version)

    async def apttl(self, key: Any, version: Any = None) -> int | None:
        """Asynchronous `pttl`."""
        return self.pttl(key, version)

    async def aexpire(self, key: Any, timeout: Any, version: Any = None) -> bool:
        """Asynchronous `expire`."""
        return self.expire(key, timeout, version)

    async def apexpire(self, key: Any, timeout: Any, version: Any = None) -> bool:
        """Asynchronous `pexpire`."""
        return self.pexpire(key, timeout, version)

    async def aexpire_at(self, key: Any, when: Any, version: Any = None) -> bool:
        """Asynchronous `expire_at`."""
        return self.expire_at(key, when, version)

    async def apexpire_at(self, key: Any, when: Any, version: Any = None) -> bool:
        """Asynchronous `pexpire_at`."""
        return self.pexpire_at(key, when, version)

    async def apersist(self, key: Any, version: Any = None) -> bool:
        """Asynchronous `persist`."""
        return self.persist(key, version)

    async def aiter_keys(
        self, search: str, itersize: int | None = None, version: Any = None
    ) -> AsyncIterator[str]:
        """Asynchronous `iter_keys`. Yields to other tasks after about every thousand entries."""
        keys = self.iter_keys(search, itersize, version)
        if not isinstance(keys, _core.KeyIterator):  # a subclass overrides iter_keys
            for key in keys:
                yield key
            return
        batch = keys._next_some()
        while batch is not None:
            for key in batch:
                yield key
            batch = keys._next_some()
            if batch is not None:
                await asyncio.sleep(0)

    async def akeys(self, search: str, version: Any = None) -> list[str]:
        """Asynchronous `keys`. Yields to other tasks after about every thousand entries."""
        if self._overrides("keys"):
            return self.keys(search, version)
        return [key async for key in self.aiter_keys(search, version=version)]

    async def adelete_pattern(
        self, pattern: str, version: Any = None, prefix: str | None = None, itersize: int | None = None
    ) -> int:
        """Asynchronous `delete_pattern`. Yields to other tasks after about every thousand entries."""
        if self._overrides("delete_pattern"):
            options = {} if prefix is None else {"prefix": prefix}
            return self.delete_pattern(pattern, version, itersize=itersize, **options)
        cache = self if prefix is None else with_prefix(self, prefix)
        keys = _core.Backend._keys_to_delete(cache, pattern, version)
        deleted = 0
        count = keys._delete_some()
        while count is not None:
            deleted += count
            count = keys._delete_some()
            if count is not None:
                await asyncio.sleep(0)
        return deleted

    def alock(  # noqa: PLR0917 (the signature of lock)
        self,
        key: Any,
        version: Any = None,
        timeout: float | None = None,
        sleep: float = 0.1,
        blocking: bool = True,
        blocking_timeout: float | None = None,
    ) -> AsyncLock:
        """Returns an `AsyncLock` that is stored in this cache under ``key``. Not a coroutine function."""
        return AsyncLock(
            cast("Backend", self),
            key,
            version=version,
            timeout=timeout,
            sleep=sleep,
            blocking=blocking,
            blocking_timeout=blocking_timeout,
        )

    async def astats(self) -> _core.Stats:
        """Asynchronous `stats`."""
        return self.stats()

    async def areset_stats(self) -> None:
        """Asynchronous `reset_stats`."""
        self.reset_stats()

    async def _aacquire(self, key: Any, token: str, timeout: float | None, version: Any) -> bool:
        return self._acquire(key, token, timeout, version)

    async def _arelease(self, key: Any, token: str, version: Any) -> bool:
        return self._release(key, token, version)

    async def _aholds(self, key: Any, token: str, version: Any) -> bool:
        return self._holds(key, token, version)

    async def _aextend(self, key: Any, token: str, seconds: float, on_top: bool, version: Any) -> bool:
        return self._extend(key, token, seconds, on_top, version)

    def _overrides(self, method: str) -> bool:
        """Returns whether a subclass overrides a method, or the instance has an attribute of its name."""
        is_inherited = getattr(type(self), method) is getattr(SyncMethods, method)
        return not is_inherited or method in vars(self)
