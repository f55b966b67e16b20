"""The methods of `TieredCache` that differ from those of the other backends.

An asynchronous method here does not use a thread and does not block the event loop: what needs the server is
sent by the extension module's own thread, and a file descriptor tells the loop when it was answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from asgiref.sync import sync_to_async
from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache, default_key_func

from nearcache import _core
from nearcache.django.backend import Backend
from nearcache.django.single_flight.call import Step
from nearcache.django.sync_methods import _INCR_ATTEMPTS

if TYPE_CHECKING or hasattr(_core, "TieredBackend"):
    TieredBackend = _core.TieredBackend
else:

    class TieredBackend:
        """Stands for the class of the extension module, which exists on Unix only; see `TieredCache`."""


_T = TypeVar("_T")
_COMPLETIONS: WeakKeyDictionary[asyncio.AbstractEventLoop, _core.Completions] = WeakKeyDictionary()


def _completions(loop: asyncio.AbstractEventLoop) -> _core.Completions:
    """Returns what the answers for an event loop arrive in."""
    found = _COMPLETIONS.get(loop)
    if found is None:
        _forget_closed_loops()
        found = _COMPLETIONS[loop] = _core.Completions()
        loop.add_reader(found.fileno(), found.finish)
    return found


def _forget_closed_loops() -> None:
    """Closes the descriptors of closed loops. An answer that came after the end keeps its loop in memory."""
    for reference in _COMPLETIONS.keyrefs():
        loop = reference()
        if loop is not None and loop.is_closed():
            _COMPLETIONS.pop(loop, None)


async def _result(started: _T | _core.Pending[_T]) -> _T:
    """Returns the result of an operation: at once, or when the server has answered."""
    if not isinstance(started, _core.Pending):
        return started
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_T] = loop.create_future()
    completions = _completions(loop)
    completions.begin(started, future)
    try:
        return await future
    except (asyncio.CancelledError, GeneratorExit):
        # The loop may not run any more when the server has answered.
        completions.abandon(started)
        raise


def _abandon(started: Any) -> None:
    """Begins an operation whose result nobody waits for."""
    if type(started) is _core.Pending:
        loop = asyncio.get_running_loop()
        completions = _completions(loop)
        completions.begin(started, loop.create_future())
        completions.abandon(started)


class TieredMethods(TieredBackend, Backend):
    """Defines the asynchronous methods, and the walks over keys."""

    async def aget(self, key: Any, default: Any = None, version: Any = None, *, fresh: bool = False) -> Any:
        """Asynchronous `get`."""
        started = self._start_get(key, default, version, fresh)
        if started is NotImplemented:
            # A subclass may override get() with Django's arguments only.
            options = {"fresh": True} if fresh else {}
            return await sync_to_async(self.get)(key, default, version, **options)
        return await _result(started)

    async def aset(  # type: ignore[override]
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
        started = self._start_set(key, value, timeout, version, nx, xx)
        if started is NotImplemented:
            conditions: dict[str, Any] = {"nx": nx, "xx": xx} if nx or xx else {}
            set_value: Callable[..., bool | None] = self.set
            return await sync_to_async(set_value)(key, value, timeout, version, **conditions)
        return await _result(started)

    async def aadd(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> bool:
        """Asynchronous `add`."""
        if self._overrides("add", _core.Backend):
            return await sync_to_async(self.add)(key, value, timeout, version)
        started = self._start_set(key, value, timeout, version, True, False)
        if started is NotImplemented:
            return await sync_to_async(self.add)(key, value, timeout, version)
        return await _result(started)

    async def atouch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> bool:
        """Asynchronous `touch`."""
        return await _result(self._start_touch(key, timeout, version))

    async def adelete(self, key: Any, version: Any = None) -> bool:
        """Asynchronous `delete`."""
        started = self._start_delete(key, version)
        if started is NotImplemented:
            return await sync_to_async(self.delete)(key, version)
        return await _result(started)

    async def ahas_key(self, key: Any, version: Any = None) -> bool:
        """Asynchronous `has_key`."""
        return await _result(self._start_has_key(key, version))

    async def aincr(
        self, key: Any, delta: Any = 1, version: Any = None, *, ignore_key_check: bool = False
    ) -> Any:
        """Asynchronous `incr`. Atomic, unlike Django's default implementation."""
        if not ignore_key_check:
            return await _result(self._start_incr(key, delta, version))
        for _ in range(_INCR_ATTEMPTS):
            try:
                return await _result(self._start_incr(key, delta, version))
            except ValueError:
                if await self.ahas_key(key, version):
                    raise
            if await self.aadd(key, delta, None, version):
                return delta
        raise ValueError(f"cannot add to the key {key!r}: other callers keep adding and deleting it")

    async def adecr(self, key: Any, delta: Any = 1, version: Any = None) -> Any:
        """Asynchronous `decr`. Atomic, unlike Django's default implementation."""
        return await self.aincr(key, -delta, version)

    async def aget_many(self, keys: Iterable[Any], version: Any = None) -> dict[Any, Any]:
        """Asynchronous `get_many`."""
        started = self._start_get_many(keys, version)
        if started is NotImplemented:
            return await sync_to_async(self.get_many)(keys, version)
        return await _result(started)

    async def aset_many(
        self, data: Mapping[Any, Any], timeout: Any = DEFAULT_TIMEOUT, version: Any = None
    ) -> list[Any]:
        """Asynchronous `set_many`."""
        started = self._start_set_many(data, timeout, version)
        if started is NotImplemented:
            return await sync_to_async(self.set_many)(data, timeout, version)
        await _result(started)
        return []

    async def adelete_many(self, keys: Iterable[Any], version: Any = None) -> None:
        """Asynchronous `delete_many`."""
        started = self._start_delete_many(keys, version)
        if started is NotImplemented:
            await sync_to_async(self.delete_many)(keys, version)
        else:
            await _result(started)

    async def aclear(self) -> None:
        """Asynchronous `clear`. Walks over the keys in a thread."""
        await asyncio.to_thread(self.clear)

    async def aincr_version(self, key: Any, delta: Any = 1, version: Any = None) -> Any:
        """Asynchronous `incr_version`."""
        return await BaseCache.aincr_version(self, key, delta, version)

    async def adecr_version(self, key: Any, delta: Any = 1, version: Any = None) -> Any:
        """Asynchronous `decr_version`."""
        return await BaseCache.aincr_version(self, key, -delta, version)

    async def attl(self, key: Any, version: Any = None) -> int | None:
        """Asynchronous `ttl`."""
        return await _result(self._start_ttl(key, version, False))

    async def apttl(self, key: Any, version: Any = None) -> int | None:
        """Asynchronous `pttl`."""
        return await _result(self._start_ttl(key, version, True))

    async def aexpire(self, key: Any, timeout: Any, version: Any = None) -> bool:
        """Asynchronous `expire`."""
        return await _result(self._start_expire(key, timeout, version, False))

    async def apexpire(self, key: Any, timeout: Any, version: Any = None) -> bool:
        """Asynchronous `pexpire`."""
        return await _result(self._start_expire(key, timeout, version, True))

    async def aexpire_at(self, key: Any, when: Any, version: Any = None) -> bool:
        """Asynchronous `expire_at`."""
        return await _result(self._start_expire_at(key, when, version, False))

    async def apexpire_at(self, key: Any, when: Any, version: Any = None) -> bool:
        """Asynchronous `pexpire_at`."""
        return await _result(self._start_expire_at(key, when, version, True))

    async def apersist(self, key: Any, version: Any = None) -> bool:
        """Asynchronous `persist`."""
        return await _result(self._start_persist(key, version))

    def keys(self, search: str, version: Any = None) -> list[str]:
        """Returns a list of the keys that match a glob; see `iter_keys`. Each key comes once."""
        return list(dict.fromkeys(self.iter_keys(search, version=version)))

    async def aiter_keys(
        self, search: str, itersize: int | None = None, version: Any = None
    ) -> AsyncIterator[str]:
        """Asynchronous `iter_keys`. Walks over the keys in a thread, a page at a time."""
        keys = await asyncio.to_thread(self.iter_keys, search, itersize, version)
        if not isinstance(keys, _core.KeyIterator):  # a subclass overrides iter_keys
            for key in keys:
                yield key
            return
        while (page := await asyncio.to_thread(keys._next_some)) is not None:
            for key in page:
                yield key

    async def akeys(self, search: str, version: Any = None) -> list[str]:
        """Asynchronous `keys`. Walks over the keys in a thread."""
        return await asyncio.to_thread(self.keys, search, version)

    async def adelete_pattern(
        self, pattern: str, version: Any = None, prefix: str | None = None, itersize: int | None = None
    ) -> int:
        """Asynchronous `delete_pattern`. Walks over the keys in a thread."""
        options = {} if prefix is None else {"prefix": prefix}
        return await asyncio.to_thread(self.delete_pattern, pattern, version, itersize=itersize, **options)

    async def _aacquire(self, key: Any, token: str, timeout: float | None, version: Any) -> bool:
        try:
            return await _result(self._start_acquire(key, token, timeout, version))
        except asyncio.CancelledError:
            # The server may give the lock to this caller, who does not wait for it any more.
            _abandon(self._start_release(key, token, version))
            raise

    async def _arelease(self, key: Any, token: str, version: Any) -> bool:
        return await _result(self._start_release(key, token, version))

    async def _aholds(self, key: Any, token: str, version: Any) -> bool:
        return await _result(self._start_holds(key, token, version))

    async def _aextend(self, key: Any, token: str, seconds: float, on_top: bool, version: Any) -> bool:
        return await _result(self._start_extend(key, token, seconds, on_top, version))

    async def _aget_early(self, key: Any, version: Any, beta: float) -> Step | None:
        found = await _result(self._start_get_with_cost(key, version))
        return None if found is None else self._early_step(key, version, found[0], beta)

    async def _ajoin(self, key: Any, version: Any, stale: float, within: _core.Flight | None) -> Step:
        step: Step = await _result(self._start_join(key, version, stale, within))
        return step

    async def _acomplete(  # noqa: PLR0917 (the arguments of _complete)
        self,
        flight: _core.Flight,
        value: Any,
        timeout: Any,
        jitter: float,
        stale: float,
        cost: float,
        early: float,
    ) -> bool:
        started = self._start_complete(flight, value, timeout, jitter, stale, cost, early)
        return await _result(started)

    async def _alock_flight(self, flight: _core.Flight, token: str, seconds: float, overtakes: bool) -> Step:
        step: Step = await _result(self._start_lock_flight(flight, token, seconds, overtakes))
        return step

    def _has_default_keys(self) -> bool:
        """Returns whether Django's own functions make the keys."""
        return self.key_func is default_key_func and type(self).make_key is BaseCache.make_key

    def _overrides(self, method: str, base: type = Backend) -> bool:
        """Returns whether a subclass overrides a method, or the instance has an attribute of its name."""
        return getattr(type(self), method) is not getattr(base, method) or method in vars(self)
