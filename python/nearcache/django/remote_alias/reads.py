"""The reads that near copies answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.core.cache.backends.base import BaseCache

from nearcache.django.backend import Backend
from nearcache.django.remote_alias.base import AliasBase
from nearcache.django.remote_alias.near import MISSING, near_key
from nearcache.django.remote_alias.remote_calls import Tolerated


class Reads(AliasBase):
    """Defines ``get`` and ``get_many``."""

    def get(self, key: Any, default: Any = None, version: Any = None, *, fresh: bool = False) -> Any:
        """Returns the value of a key, or ``default`` if the key is missing; ``fresh`` reads no near copy."""
        remote = self._remote
        copy_key = near_key(remote, key, version)
        if not fresh and (copy := self._near.get(copy_key)) is not MISSING:
            return copy
        stamp = self._near.stamp(copy_key)
        with Tolerated(self):
            value = remote.get(key, MISSING, version=version, **_freshness(remote, fresh))
            return self._keep(copy_key, value, stamp, default)
        return default

    async def aget(self, key: Any, default: Any = None, version: Any = None, *, fresh: bool = False) -> Any:
        """Asynchronous `get`."""
        remote = self._remote
        copy_key = near_key(remote, key, version)
        if not fresh and (copy := self._near.get(copy_key)) is not MISSING:
            return copy
        stamp = self._near.stamp(copy_key)
        with Tolerated(self):
            value = await remote.aget(key, MISSING, version=version, **_freshness(remote, fresh))
            return self._keep(copy_key, value, stamp, default)
        return default

    def _keep(self, copy_key: str, value: Any, stamp: int, default: Any) -> Any:
        if value is MISSING:
            return default
        self._near.keep(copy_key, value, stamp)
        return value

    def get_many(self, keys: Iterable[Any], version: Any = None) -> dict[Any, Any]:
        """Returns a dict of the given keys that were found, with their values."""
        found, missing = self._split(keys, version)
        if missing:
            with Tolerated(self):
                self._keep_many(found, missing, self._remote.get_many(list(missing), version=version))
        return found

    async def aget_many(self, keys: Iterable[Any], version: Any = None) -> dict[Any, Any]:
        """Asynchronous `get_many`."""
        found, missing = self._split(keys, version)
        if missing:
            with Tolerated(self):
                values = await self._remote.aget_many(list(missing), version=version)
                self._keep_many(found, missing, values)
        return found

    def _split(self, keys: Iterable[Any], version: Any) -> tuple[dict[Any, Any], dict[Any, tuple[str, int]]]:
        """Returns the near copies, and for each key that has none, its near key and stamp."""
        remote = self._remote
        found: dict[Any, Any] = {}
        missing: dict[Any, tuple[str, int]] = {}
        for key in keys:
            copy_key = near_key(remote, key, version)
            copy = self._near.get(copy_key)
            if copy is MISSING:
                missing[key] = copy_key, self._near.stamp(copy_key)
            else:
                found[key] = copy
        return found, missing

    def _keep_many(
        self, found: dict[Any, Any], missing: Mapping[Any, tuple[str, int]], values: Mapping[Any, Any]
    ) -> None:
        for key, value in values.items():
            copy_key, stamp = missing[key]
            self._near.keep(copy_key, value, stamp)
            found[key] = value


def _freshness(remote: BaseCache, fresh: bool) -> dict[str, Any]:
    """Returns the argument for a remote cache that has near copies itself."""
    return {"fresh": True} if fresh and isinstance(remote, Backend) else {}
