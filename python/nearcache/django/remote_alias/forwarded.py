"""The methods that pass their arguments on to the remote cache as they are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.core.cache.backends.base import BaseCache

from nearcache.django.async_methods import AsyncMethods
from nearcache.django.remote_alias.base import AliasBase
from nearcache.django.remote_alias.remote_calls import read, write, write_all
from nearcache.django.sync_methods import SyncMethods

if TYPE_CHECKING:
    from nearcache.django.locks import AsyncLock, Lock


def _no_keys() -> Iterator[str]:
    return iter(())


def _nothing() -> None:
    return None


class Forwarded(AliasBase):
    """Defines what needs no more than the arguments of the caller."""

    # Every remote cache has these.

    add = write(BaseCache.add, otherwise=bool)
    aadd = write(AsyncMethods.aadd, otherwise=bool)
    touch = write(SyncMethods.touch, otherwise=bool)
    atouch = write(AsyncMethods.atouch, otherwise=bool)
    delete = write(BaseCache.delete, otherwise=bool)
    adelete = write(AsyncMethods.adelete, otherwise=bool)
    clear = write_all(SyncMethods.clear, otherwise=_nothing)
    aclear = write_all(AsyncMethods.aclear, otherwise=_nothing)
    has_key = read(SyncMethods.has_key, otherwise=bool)
    ahas_key = read(AsyncMethods.ahas_key, otherwise=bool)
    close = read(BaseCache.close, otherwise=_nothing)
    aclose = read(AsyncMethods.aclose, otherwise=_nothing)

    # nearcache's backends have these, and django-redis has some; with other remote caches, they raise
    # NotImplementedError.

    ttl = read(SyncMethods.ttl, otherwise=int)
    attl = read(AsyncMethods.attl, otherwise=int)
    pttl = read(SyncMethods.pttl, otherwise=int)
    apttl = read(AsyncMethods.apttl, otherwise=int)
    expire = write(SyncMethods.expire, otherwise=bool)
    aexpire = write(AsyncMethods.aexpire, otherwise=bool)
    pexpire = write(SyncMethods.pexpire, otherwise=bool)
    apexpire = write(AsyncMethods.apexpire, otherwise=bool)
    expire_at = write(SyncMethods.expire_at, otherwise=bool)
    aexpire_at = write(AsyncMethods.aexpire_at, otherwise=bool)
    pexpire_at = write(SyncMethods.pexpire_at, otherwise=bool)
    apexpire_at = write(AsyncMethods.apexpire_at, otherwise=bool)
    persist = write(SyncMethods.persist, otherwise=bool)
    apersist = write(AsyncMethods.apersist, otherwise=bool)
    iter_keys = read(SyncMethods.iter_keys, otherwise=_no_keys)
    keys = read(SyncMethods.keys, otherwise=list)
    akeys = read(AsyncMethods.akeys, otherwise=list)
    delete_pattern = write_all(SyncMethods.delete_pattern, otherwise=int)  # type: ignore[assignment]  # as there
    adelete_pattern = write_all(AsyncMethods.adelete_pattern, otherwise=int)

    async def aiter_keys(
        self, search: str, itersize: int | None = None, version: Any = None
    ) -> AsyncIterator[str]:
        """Asynchronous `iter_keys`. Reads all keys first."""
        self._remote_method("iter_keys")
        # Other backends may not have all arguments.
        given = {"itersize": itersize, "version": version}
        options = {name: value for name, value in given.items() if value is not None}
        for key in await sync_to_async(lambda: list(self.iter_keys(search, **options)))():
            yield key

    def lock(self, key: Any, *args: Any, **options: Any) -> Lock:
        """Returns a lock of the remote cache, with its arguments. ``ON_ERROR`` does not apply to it."""
        lock: Lock = self._remote_method("lock")(key, *args, **options)
        return lock

    def alock(self, key: Any, *args: Any, **options: Any) -> AsyncLock:
        """Returns an asynchronous lock of the remote cache."""
        lock: AsyncLock = self._remote_method("alock")(key, *args, **options)
        return lock
