"""The methods of a `TieredCache` whose remote tier is another Django cache (``OPTIONS["REMOTE"]``).

The remote cache makes the keys, and has the entries. The near tier is a `LocalCache` or `SharedCache` whose
keys are the stored keys of the remote cache. Nobody reports the writes of other processes, so a copy is
bounded by ``NEAR_TTL`` alone.

A write of this process deletes the copy before and after it, and changes a number in `_Stamps`. A read that
was sent before the write keeps no copy, because the number has changed. So threads of a process do not find a
copy of what they have overwritten.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from hashlib import sha256
from pickle import PicklingError
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from asgiref.sync import sync_to_async
from django.core.cache import caches
from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.core.exceptions import ImproperlyConfigured

from nearcache.django.backend import Backend
from nearcache.django.local import LocalCache
from nearcache.django.shared import SharedCache
from nearcache.django.sync_methods import Duration
from nearcache.django.tiered_alias_options import AliasOptions
from nearcache.django.tiered_methods import TieredMethods

if TYPE_CHECKING:
    from nearcache.django.locks import AsyncLock, Lock

_T = TypeVar("_T")
_LOG = logging.getLogger("nearcache")
_MISSING = object()
# A longer key is hashed: a SharedCache has a limit.
_MAX_KEY_LENGTH = 1000
_STRIPES = 1024
_SECONDS_BETWEEN_WARNINGS = 60
# The caller's mistakes, which ON_ERROR "miss" does not hide. Pickling a local class is an AttributeError.
_MISTAKES = (TypeError, ValueError, AttributeError, NotImplementedError, PicklingError)
_WARNED_AT: dict[str, float] = {}


class _StoredKeys(Backend):
    """Takes stored keys of another cache as they are."""

    def make_and_validate_key(self, key: Any, version: Any = None) -> Any:
        """Returns the key."""
        return key


class _LocalCopies(_StoredKeys, LocalCache):
    """A near tier in this process."""


class _SharedCopies(_StoredKeys, SharedCache):
    """A near tier on this machine."""


class _Stamps:
    """A number for each stripe of keys, which every write of this process changes."""

    def __init__(self) -> None:
        # A number is never used again, so that a slow write cannot restore one that a reader knows.
        self._numbers = itertools.count()
        self._stamps = [0] * _STRIPES

    def read(self, key: str) -> int:
        return self._stamps[hash(key) % _STRIPES]

    def change(self, key: str) -> None:
        self._stamps[hash(key) % _STRIPES] = next(self._numbers)

    def change_all(self) -> None:
        self._stamps[:] = [next(self._numbers)] * _STRIPES


# By the LOCATION of the near tier.
_STAMPS: dict[str, _Stamps] = {}
_SOURCES: dict[str, str] = {}


class _Near:
    """The near tier: the copies, and what keeps a read from storing one that a write has overtaken."""

    def __init__(self, copies: Backend, options: AliasOptions) -> None:
        self._copies = copies
        self._seconds = options.near_ttl
        self._stamps = _STAMPS.setdefault(options.near_location, _Stamps())

    def get(self, key: str) -> Any:
        """Returns the copy of a key, or `_MISSING`."""
        return self._copies.get(key, _MISSING)

    def stamp(self, key: str) -> int:
        """Returns what `keep` needs. Call this before the read of the remote cache."""
        return self._stamps.read(key)

    def keep(self, key: str, value: Any, stamp: int) -> None:
        """Stores a copy, unless this process has written the key since the stamp."""
        if self._stamps.read(key) != stamp:
            return
        # A value that cannot be copied is read from the remote cache every time.
        with contextlib.suppress(Exception):
            self._copies.set(key, value, self._seconds)
        if self._stamps.read(key) != stamp:
            self._copies.delete(key)

    def drop(self, keys: Iterable[str]) -> None:
        """Deletes copies."""
        for key in keys:
            self._stamps.change(key)
            self._copies.delete(key)

    def clear(self) -> None:
        """Deletes all copies."""
        self._stamps.change_all()
        self._copies.clear()


class _NoNear(_Near):
    """The near tier of ``NEAR`` None, which has no copies."""

    def get(self, key: str) -> Any:
        return _MISSING

    def keep(self, key: str, value: Any, stamp: int) -> None:
        pass

    def drop(self, keys: Iterable[str]) -> None:
        pass

    def clear(self) -> None:
        pass


class _Tolerated:
    """A context in which ``ON_ERROR`` "miss" hides the failures of the remote cache."""

    def __init__(self, cache: AliasMethods) -> None:
        self._cache = cache

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if not isinstance(error, Exception) or isinstance(error, _MISTAKES):
            return False
        if self._cache._on_error == "raise":
            return False
        _warn_of_failure(self._cache._remote_alias, error)
        return True


class _Write(_Tolerated):
    """A write, which deletes near copies before and after, also if it fails. None means all copies."""

    def __init__(self, cache: AliasMethods, keys: list[str] | None) -> None:
        super().__init__(cache)
        self._keys = keys

    def __enter__(self) -> None:
        self._drop()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self._drop()
        return super().__exit__(kind, error, traceback)

    def _drop(self) -> None:
        if self._keys is None:
            self._cache._near.clear()
        else:
            self._cache._near.drop(self._keys)


def _warn_of_failure(alias: str, error: Exception) -> None:
    """Logs a failure that ``ON_ERROR`` hides, not more than once in a minute."""
    now = time.monotonic()
    if now - _WARNED_AT.get(alias, -_SECONDS_BETWEEN_WARNINGS) >= _SECONDS_BETWEEN_WARNINGS:
        _WARNED_AT[alias] = now
        _LOG.warning(
            "nearcache: CACHES[%r], the remote tier of a TieredCache, failed: %s: %s. Its entries are "
            'treated as missing, because OPTIONS["ON_ERROR"] is "miss".',
            alias,
            type(error).__name__,
            error,
        )


class AliasMethods(TieredMethods):
    """Defines all methods by those of the remote cache, with near copies before ``get`` and ``get_many``."""

    _near: _Near
    _remote_alias: str
    _on_error: str
    #: The ``LOCATION`` of the near tier. Caches that have it in common share their copies.
    near_location: str

    def __init__(self, name: Any, params: dict[str, Any]) -> None:
        """Opens both tiers. Raises `ImproperlyConfigured` if a setting is invalid."""
        options = AliasOptions.parse(name, params)
        self._remote_alias, self._on_error = options.remote, options.on_error
        self.near_location = options.near_location
        remote = self._remote
        BaseCache.__init__(self, {"timeout": remote.default_timeout})
        # What Django and others read. The remote cache makes its keys by its own.
        self.key_prefix, self.version, self.key_func = remote.key_prefix, remote.version, remote.key_func
        self._max_entries = self._cull_frequency = None
        self._max_memory = options.max_memory
        copies = _open_copies(options)
        self._near = (_NoNear if options.near is None else _Near)(copies, options)
        self._open_as(copies)  # for stats() and copy.copy()

    @property
    def _remote(self) -> BaseCache:
        """Returns the remote cache of this thread or task. Clients of Memcached belong to one thread."""
        return caches[self._remote_alias]

    def make_key(self, key: Any, version: Any = None) -> str:
        """Returns the stored key of the remote cache."""
        made: str = self._remote.make_key(key, version=version)
        return made

    def get(self, key: Any, default: Any = None, version: Any = None, *, fresh: bool = False) -> Any:
        """Returns the value of a key, or ``default`` if the key is missing; ``fresh`` reads no near copy."""
        remote = self._remote
        near_key = _near_key(remote, key, version)
        if not fresh and (copy := self._near.get(near_key)) is not _MISSING:
            return copy
        stamp = self._near.stamp(near_key)
        with _Tolerated(self):
            value = remote.get(key, _MISSING, version=version, **_freshness(remote, fresh))
            if value is _MISSING:
                return default
            self._near.keep(near_key, value, stamp)
            return value
        return default

    async def aget(self, key: Any, default: Any = None, version: Any = None, *, fresh: bool = False) -> Any:
        """Asynchronous `get`."""
        remote = self._remote
        near_key = _near_key(remote, key, version)
        if not fresh and (copy := self._near.get(near_key)) is not _MISSING:
            return copy
        stamp = self._near.stamp(near_key)
        with _Tolerated(self):
            value = await remote.aget(key, _MISSING, version=version, **_freshness(remote, fresh))
            if value is _MISSING:
                return default
            self._near.keep(near_key, value, stamp)
            return value
        return default

    def get_many(self, keys: Iterable[Any], version: Any = None) -> dict[Any, Any]:
        """Returns a dict of the given keys that were found, with their values."""
        found, missing = self._split(keys, version)
        if missing:
            with _Tolerated(self):
                self._add_remote(found, missing, self._remote.get_many(list(missing), version=version))
        return found

    async def aget_many(self, keys: Iterable[Any], version: Any = None) -> dict[Any, Any]:
        """Asynchronous `get_many`."""
        found, missing = self._split(keys, version)
        if missing:
            with _Tolerated(self):
                values = await self._remote.aget_many(list(missing), version=version)
                self._add_remote(found, missing, values)
        return found

    def _split(self, keys: Iterable[Any], version: Any) -> tuple[dict[Any, Any], dict[Any, tuple[str, int]]]:
        """Returns the near copies, and for each key that has none, its near key and stamp."""
        remote = self._remote
        found: dict[Any, Any] = {}
        missing: dict[Any, tuple[str, int]] = {}
        for key in keys:
            near_key = _near_key(remote, key, version)
            copy = self._near.get(near_key)
            if copy is _MISSING:
                missing[key] = near_key, self._near.stamp(near_key)
            else:
                found[key] = copy
        return found, missing

    def _add_remote(
        self, found: dict[Any, Any], missing: Mapping[Any, tuple[str, int]], values: Mapping[Any, Any]
    ) -> None:
        for key, value in values.items():
            self._near.keep(missing[key][0], value, missing[key][1])
            found[key] = value

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
        """Stores a value in the remote cache. ``nx`` and ``xx`` need a remote cache that has them."""
        remote: Any = self._remote
        conditions = self._conditions(nx, xx)
        with self._write(key, version):
            done = remote.set(key, value, timeout=timeout, version=version, **conditions)
            return bool(done) if conditions else None
        return None

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
        remote: Any = self._remote
        conditions = self._conditions(nx, xx)
        with self._write(key, version):
            done = await remote.aset(key, value, timeout=timeout, version=version, **conditions)
            return bool(done) if conditions else None
        return None

    def add(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> bool:
        """Stores a value if the key is missing; returns whether it was stored."""
        with self._write(key, version):
            return self._remote.add(key, value, timeout=timeout, version=version)
        return False

    async def aadd(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> bool:
        """Asynchronous `add`."""
        with self._write(key, version):
            return await self._remote.aadd(key, value, timeout=timeout, version=version)
        return False

    def touch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> bool:
        """Sets the timeout of an entry, in seconds; returns whether the key was found."""
        with self._write(key, version):
            return self._remote.touch(key, timeout=timeout, version=version)
        return False

    async def atouch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> bool:
        """Asynchronous `touch`."""
        with self._write(key, version):
            return await self._remote.atouch(key, timeout=timeout, version=version)
        return False

    def delete(self, key: Any, version: Any = None) -> bool:
        """Deletes an entry; returns whether the key was found."""
        with self._write(key, version):
            return self._remote.delete(key, version=version)
        return False

    async def adelete(self, key: Any, version: Any = None) -> bool:
        """Asynchronous `delete`."""
        with self._write(key, version):
            return await self._remote.adelete(key, version=version)
        return False

    def has_key(self, key: Any, version: Any = None) -> bool:
        """Returns whether the remote cache has an entry for a key."""
        with _Tolerated(self):
            return self._remote.has_key(key, version=version)
        return False

    async def ahas_key(self, key: Any, version: Any = None) -> bool:
        """Asynchronous `has_key`."""
        with _Tolerated(self):
            return await self._remote.ahas_key(key, version=version)
        return False

    def incr(self, key: Any, delta: Any = 1, version: Any = None, *, ignore_key_check: bool = False) -> Any:
        """Adds ``delta`` to a value and returns the sum. Atomic if it is in the remote cache."""
        extra = self._ignoring(ignore_key_check)
        with self._write(key, version):
            return self._remote.incr(key, delta, version=version, **extra)
        raise _unreachable(key)

    async def aincr(
        self, key: Any, delta: Any = 1, version: Any = None, *, ignore_key_check: bool = False
    ) -> Any:
        """Asynchronous `incr`."""
        extra = self._ignoring(ignore_key_check)
        with self._write(key, version):
            return await self._remote.aincr(key, delta, version=version, **extra)
        raise _unreachable(key)

    def decr(self, key: Any, delta: Any = 1, version: Any = None) -> Any:
        """Subtracts ``delta`` from a value and returns the difference."""
        with self._write(key, version):
            return self._remote.decr(key, delta, version=version)
        raise _unreachable(key)

    async def adecr(self, key: Any, delta: Any = 1, version: Any = None) -> Any:
        """Asynchronous `decr`."""
        with self._write(key, version):
            return await self._remote.adecr(key, delta, version=version)
        raise _unreachable(key)

    def incr_version(self, key: Any, delta: Any = 1, version: Any = None) -> Any:
        """Moves an entry to another version, which is returned."""
        with self._write(key, *self._versions(version, delta)):
            return self._remote.incr_version(key, delta, version=version)
        raise _unreachable(key)

    async def aincr_version(self, key: Any, delta: Any = 1, version: Any = None) -> Any:
        """Asynchronous `incr_version`."""
        with self._write(key, *self._versions(version, delta)):
            return await self._remote.aincr_version(key, delta, version=version)
        raise _unreachable(key)

    def decr_version(self, key: Any, delta: Any = 1, version: Any = None) -> Any:
        """Moves an entry to an earlier version, which is returned."""
        return self.incr_version(key, -delta, version)

    async def adecr_version(self, key: Any, delta: Any = 1, version: Any = None) -> Any:
        """Asynchronous `decr_version`."""
        return await self.aincr_version(key, -delta, version)

    def set_many(
        self, data: Mapping[Any, Any], timeout: Any = DEFAULT_TIMEOUT, version: Any = None
    ) -> list[Any]:
        """Stores every value of a mapping; returns the keys that the remote cache did not store."""
        with self._write_many(data, version):
            # Memcached's backend returns None if all were stored, django-redis always.
            return self._remote.set_many(dict(data), timeout=timeout, version=version) or []
        return []

    async def aset_many(
        self, data: Mapping[Any, Any], timeout: Any = DEFAULT_TIMEOUT, version: Any = None
    ) -> list[Any]:
        """Asynchronous `set_many`."""
        with self._write_many(data, version):
            return await self._remote.aset_many(dict(data), timeout=timeout, version=version) or []
        return []

    def delete_many(self, keys: Iterable[Any], version: Any = None) -> None:
        """Deletes the entries of the given keys."""
        keys = list(keys)
        with self._write_many(keys, version):
            self._remote.delete_many(keys, version=version)

    async def adelete_many(self, keys: Iterable[Any], version: Any = None) -> None:
        """Asynchronous `delete_many`."""
        keys = list(keys)
        with self._write_many(keys, version):
            await self._remote.adelete_many(keys, version=version)

    def clear(self) -> None:
        """Clears the remote cache, as it does that itself, and deletes all near copies."""
        with _Write(self, None):
            self._remote.clear()

    async def aclear(self) -> None:
        """Asynchronous `clear`."""
        with _Write(self, None):
            await self._remote.aclear()

    def close(self, **kwargs: Any) -> None:
        """Closes the remote cache of this thread."""
        with _Tolerated(self):
            self._remote.close(**kwargs)

    async def aclose(self, **kwargs: Any) -> None:
        """Asynchronous `close`."""
        with _Tolerated(self):
            await self._remote.aclose(**kwargs)

    def ttl(self, key: Any, version: Any = None) -> int | None:
        """Returns the seconds until an entry expires. Needs a remote cache that has this method."""
        return self._read_extra("ttl", 0, key, version=version)

    def pttl(self, key: Any, version: Any = None) -> int | None:
        """Returns the milliseconds until an entry expires. Needs a remote cache that has this method."""
        return self._read_extra("pttl", 0, key, version=version)

    async def attl(self, key: Any, version: Any = None) -> int | None:
        """Asynchronous `ttl`."""
        return await self._aread_extra("ttl", 0, key, version=version)

    async def apttl(self, key: Any, version: Any = None) -> int | None:
        """Asynchronous `pttl`."""
        return await self._aread_extra("pttl", 0, key, version=version)

    def expire(self, key: Any, timeout: Duration, version: Any = None) -> bool:
        """Lets an entry expire after seconds. Needs a remote cache that has this method."""
        return self._write_extra("expire", key, timeout, version=version)

    def pexpire(self, key: Any, timeout: Duration, version: Any = None) -> bool:
        """Lets an entry expire after milliseconds. Needs a remote cache that has this method."""
        return self._write_extra("pexpire", key, timeout, version=version)

    def expire_at(self, key: Any, when: Any, version: Any = None) -> bool:
        """Lets an entry expire at a time. Needs a remote cache that has this method."""
        return self._write_extra("expire_at", key, when, version=version)

    def pexpire_at(self, key: Any, when: Any, version: Any = None) -> bool:
        """Lets an entry expire at a time in milliseconds. Needs a remote cache that has this method."""
        return self._write_extra("pexpire_at", key, when, version=version)

    def persist(self, key: Any, version: Any = None) -> bool:
        """Removes the expiry of an entry. Needs a remote cache that has this method."""
        return self._write_extra("persist", key, version=version)

    async def aexpire(self, key: Any, timeout: Any, version: Any = None) -> bool:
        """Asynchronous `expire`."""
        return await self._awrite_extra("expire", key, timeout, version=version)

    async def apexpire(self, key: Any, timeout: Any, version: Any = None) -> bool:
        """Asynchronous `pexpire`."""
        return await self._awrite_extra("pexpire", key, timeout, version=version)

    async def aexpire_at(self, key: Any, when: Any, version: Any = None) -> bool:
        """Asynchronous `expire_at`."""
        return await self._awrite_extra("expire_at", key, when, version=version)

    async def apexpire_at(self, key: Any, when: Any, version: Any = None) -> bool:
        """Asynchronous `pexpire_at`."""
        return await self._awrite_extra("pexpire_at", key, when, version=version)

    async def apersist(self, key: Any, version: Any = None) -> bool:
        """Asynchronous `persist`."""
        return await self._awrite_extra("persist", key, version=version)

    def iter_keys(self, search: str, itersize: int | None = None, version: Any = None) -> Iterator[str]:
        """Returns an iterator over matching keys. Needs a remote cache that has this method."""
        return self._read_extra("iter_keys", iter(()), search, **_present(version=version, itersize=itersize))

    def keys(self, search: str, version: Any = None) -> list[str]:
        """Returns a list of matching keys. Needs a remote cache that has this method."""
        return self._read_extra("keys", [], search, version=version)

    async def aiter_keys(
        self, search: str, itersize: int | None = None, version: Any = None
    ) -> AsyncIterator[str]:
        """Asynchronous `iter_keys`. Reads all keys first."""
        self._extra("iter_keys")
        for key in await sync_to_async(lambda: list(self.iter_keys(search, itersize, version)))():
            yield key

    async def akeys(self, search: str, version: Any = None) -> list[str]:
        """Asynchronous `keys`."""
        return await self._aread_extra("keys", [], search, version=version)

    def delete_pattern(  # type: ignore[override]
        self, pattern: str, version: Any = None, prefix: str | None = None, itersize: int | None = None
    ) -> int:
        """Deletes matching entries, and all near copies. Needs a remote cache that has this method."""
        method = self._extra("delete_pattern")
        with _Write(self, None):
            return int(method(pattern, **_present(version=version, prefix=prefix, itersize=itersize)))
        return 0

    async def adelete_pattern(
        self, pattern: str, version: Any = None, prefix: str | None = None, itersize: int | None = None
    ) -> int:
        """Asynchronous `delete_pattern`."""
        method = self._async_extra("delete_pattern")
        with _Write(self, None):
            return int(await method(pattern, **_present(version=version, prefix=prefix, itersize=itersize)))
        return 0

    def lock(self, key: Any, *args: Any, **options: Any) -> Lock:
        """Returns a lock of the remote cache, with its arguments. ``ON_ERROR`` does not apply to it."""
        lock: Lock = self._extra("lock")(key, *args, **options)
        return lock

    def alock(self, key: Any, *args: Any, **options: Any) -> AsyncLock:
        """Returns an asynchronous lock of the remote cache."""
        lock: AsyncLock = self._extra("alock")(key, *args, **options)
        return lock

    def _write(self, key: Any, *versions: Any) -> _Write:
        remote = self._remote
        return _Write(self, [_near_key(remote, key, version) for version in versions])

    def _write_many(self, keys: Iterable[Any], version: Any) -> _Write:
        remote = self._remote
        return _Write(self, [_near_key(remote, key, version) for key in keys])

    def _versions(self, version: Any, delta: Any) -> tuple[Any, Any]:
        """Returns the versions that ``incr_version`` changes."""
        first = self._remote.version if version is None else version
        return first, first + delta

    def _conditions(self, nx: bool, xx: bool) -> dict[str, bool]:
        """Returns the arguments for a conditional ``set``. Raises `NotImplementedError`."""
        if nx and xx:
            raise ValueError("nx and xx are mutually exclusive")
        if (nx or xx) and not self._has_extra("ttl"):
            raise self._not_implemented(f"set() with {'nx' if nx else 'xx'}")
        return {name: True for name, given in (("nx", nx), ("xx", xx)) if given}

    def _ignoring(self, ignore_key_check: bool) -> dict[str, bool]:
        """Returns the argument for ``incr``. Raises `NotImplementedError`."""
        if ignore_key_check and not self._has_extra("ttl"):
            raise self._not_implemented("incr() with ignore_key_check")
        return {"ignore_key_check": True} if ignore_key_check else {}

    def _has_extra(self, name: str) -> bool:
        """Returns whether the remote cache has a method that Django's caches do not have.

        Only nearcache's backends and django-redis have ``ttl``; it stands for their additional arguments. An
        `AliasMethods` has all methods if its own remote cache has them.
        """
        remote = self._remote
        return remote._has_extra(name) if isinstance(remote, AliasMethods) else hasattr(remote, name)

    def _extra(self, name: str) -> Callable[..., Any]:
        """Returns a method of the remote cache that Django's caches need not have."""
        method = getattr(self._remote, name, None)
        if method is None:
            raise self._not_implemented(f"{name}()")
        return method  # type: ignore[no-any-return]

    def _async_extra(self, name: str) -> Callable[..., Any]:
        """Returns the asynchronous twin of such a method, or the method in a thread."""
        twin = getattr(self._remote, f"a{name}", None)
        return sync_to_async(self._extra(name)) if twin is None else twin

    def _not_implemented(self, what: str) -> NotImplementedError:
        kind = type(self._remote)
        return NotImplementedError(
            f"nearcache: {what} is not supported by {kind.__module__}.{kind.__qualname__}, the backend of "
            f'CACHES[{self._remote_alias!r}], which OPTIONS["REMOTE"] names'
        )

    def _read_extra(self, name: str, otherwise: _T, *args: Any, **options: Any) -> _T:
        method = self._extra(name)
        with _Tolerated(self):
            found: _T = method(*args, **options)
            return found
        return otherwise

    async def _aread_extra(self, name: str, otherwise: _T, *args: Any, **options: Any) -> _T:
        method = self._async_extra(name)
        with _Tolerated(self):
            found: _T = await method(*args, **options)
            return found
        return otherwise

    def _write_extra(self, name: str, key: Any, *args: Any, version: Any) -> bool:
        method = self._extra(name)
        with self._write(key, version):
            return bool(method(key, *args, version=version))
        return False

    async def _awrite_extra(self, name: str, key: Any, *args: Any, version: Any) -> bool:
        method = self._async_extra(name)
        with self._write(key, version):
            return bool(await method(key, *args, version=version))
        return False


def _open_copies(options: AliasOptions) -> Backend:
    """Opens the cache of the near copies. With ``NEAR`` None it stays empty."""
    location = options.near_location
    if _SOURCES.setdefault(location, options.source) != options.source:
        # Each cache would serve the other's values under the keys that both have.
        raise ImproperlyConfigured(
            f'nearcache: OPTIONS["NEAR_LOCATION"] is {location!r}, which this process uses for the near '
            "copies of another REMOTE; expected a file for each. Without NEAR_LOCATION, each gets one."
        )
    given: dict[str, Any] = {"MAX_MEMORY": options.max_memory}
    if options.near == "shared":
        given["OBJECT_CACHE"] = options.object_cache
        if options.max_processes is not None:
            given["MAX_PROCESSES"] = options.max_processes
        return _SharedCopies(location, {"OPTIONS": given})
    return _LocalCopies(f"nearcache {location}", {"OPTIONS": given})


def _near_key(remote: BaseCache, key: Any, version: Any) -> str:
    """Returns the key of a near copy: the stored key, or its hash if it is long."""
    stored = str(remote.make_key(key, version=version))
    if len(stored) > _MAX_KEY_LENGTH:
        return sha256(stored.encode("utf-8", "surrogatepass")).hexdigest()
    return stored


def _present(**given: Any) -> dict[str, Any]:
    """Returns the arguments that are not None: other backends may not have all."""
    return {name: value for name, value in given.items() if value is not None}


def _freshness(remote: BaseCache, fresh: bool) -> dict[str, Any]:
    """Returns the argument for a remote cache that has near copies itself."""
    return {"fresh": True} if fresh and isinstance(remote, Backend) else {}


def _unreachable(key: Any) -> ValueError:
    """Returns the error of ``incr`` if ``ON_ERROR`` hides the failure of the remote cache."""
    return ValueError(f"Key {key!r} not found")
