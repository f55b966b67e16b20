"""The writes with arguments or results of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT

from nearcache.django.remote_alias.base import AliasBase
from nearcache.django.remote_alias.near import near_key
from nearcache.django.remote_alias.remote_calls import Write


class Writes(AliasBase):
    """Defines ``set``, ``incr``, ``decr``, ``incr_version``, ``set_many`` and what is like them."""

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
        with self._write([key], version):
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
        with self._write([key], version):
            done = await remote.aset(key, value, timeout=timeout, version=version, **conditions)
            return bool(done) if conditions else None
        return None

    def incr(self, key: Any, delta: Any = 1, version: Any = None, *, ignore_key_check: bool = False) -> Any:
        """Adds ``delta`` to a value and returns the sum. Atomic if it is in the remote cache."""
        remote: Any = self._remote
        extra = self._key_check(ignore_key_check)
        with self._write([key], version):
            return remote.incr(key, delta, version=version, **extra)
        raise _not_found(key)

    async def aincr(
        self, key: Any, delta: Any = 1, version: Any = None, *, ignore_key_check: bool = False
    ) -> Any:
        """Asynchronous `incr`."""
        remote: Any = self._remote
        extra = self._key_check(ignore_key_check)
        with self._write([key], version):
            return await remote.aincr(key, delta, version=version, **extra)
        raise _not_found(key)

    def decr(self, key: Any, delta: Any = 1, version: Any = None) -> Any:
        """Subtracts ``delta`` from a value and returns the difference."""
        with self._write([key], version):
            return self._remote.decr(key, delta, version=version)
        raise _not_found(key)

    async def adecr(self, key: Any, delta: Any = 1, version: Any = None) -> Any:
        """Asynchronous `decr`."""
        with self._write([key], version):
            return await self._remote.adecr(key, delta, version=version)
        raise _not_found(key)

    def incr_version(self, key: Any, delta: Any = 1, version: Any = None) -> Any:
        """Moves an entry to another version, which is returned."""
        with self._move(key, delta, version):
            return self._remote.incr_version(key, delta, version=version)
        raise _not_found(key)

    async def aincr_version(self, key: Any, delta: Any = 1, version: Any = None) -> Any:
        """Asynchronous `incr_version`."""
        with self._move(key, delta, version):
            return await self._remote.aincr_version(key, delta, version=version)
        raise _not_found(key)

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
        with self._write(data, version):
            # Memcached's backend returns None if all were stored, django-redis always.
            return self._remote.set_many(dict(data), timeout=timeout, version=version) or []
        return []

    async def aset_many(
        self, data: Mapping[Any, Any], timeout: Any = DEFAULT_TIMEOUT, version: Any = None
    ) -> list[Any]:
        """Asynchronous `set_many`."""
        with self._write(data, version):
            return await self._remote.aset_many(dict(data), timeout=timeout, version=version) or []
        return []

    def delete_many(self, keys: Iterable[Any], version: Any = None) -> None:
        """Deletes the entries of the given keys."""
        keys = list(keys)
        with self._write(keys, version):
            self._remote.delete_many(keys, version=version)

    async def adelete_many(self, keys: Iterable[Any], version: Any = None) -> None:
        """Asynchronous `delete_many`."""
        keys = list(keys)
        with self._write(keys, version):
            await self._remote.adelete_many(keys, version=version)

    def _write(self, keys: Iterable[Any], version: Any) -> Write:
        """Returns the context of a write of some keys."""
        remote = self._remote
        return Write(self, [near_key(remote, key, version) for key in keys])

    def _move(self, key: Any, delta: Any, version: Any) -> Write:
        """Returns the context of a write that moves an entry to another version."""
        remote = self._remote
        first = remote.version if version is None else version
        return Write(self, [near_key(remote, key, one) for one in (first, first + delta)])

    def _conditions(self, nx: bool, xx: bool) -> dict[str, bool]:
        """Returns the arguments for a conditional ``set``. Raises `NotImplementedError`."""
        if nx and xx:
            raise ValueError("nx and xx are mutually exclusive")
        if (nx or xx) and not self._has_remote_method("ttl"):
            raise self._not_implemented(f"set() with {'nx' if nx else 'xx'}")
        return {name: True for name, given in (("nx", nx), ("xx", xx)) if given}

    def _key_check(self, is_ignored: bool) -> dict[str, bool]:
        """Returns the argument for ``incr``. Raises `NotImplementedError`."""
        if is_ignored and not self._has_remote_method("ttl"):
            raise self._not_implemented("incr() with ignore_key_check")
        return {"ignore_key_check": True} if is_ignored else {}


def _not_found(key: Any) -> ValueError:
    """Returns the error of ``incr`` if ``ON_ERROR`` hides the failure of the remote cache."""
    return ValueError(f"Key {key!r} not found")
