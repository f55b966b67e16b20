"""The synchronous cache methods that are Python functions.

Each calls the method of the same name in ``nearcache._core``. They are Python functions because tools inspect
functions: `unittest.mock` binds ``self``, ``typing.get_type_hints`` reads the annotations, tracers replace
the code, and Django 6.1 compares ``__func__``. ``get``, ``get_or_set``, ``set``, ``add`` and ``delete`` are
inherited from ``nearcache._core`` directly, because a Python function around them would make every call
slower. `nearcache.django.traced` defines those five as Python functions, too.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, SupportsFloat, SupportsIndex, TypeVar, cast

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache

from nearcache import _core
from nearcache.django.locks import Lock
from nearcache.django.single_flight.methods import AsyncSingleFlight

if TYPE_CHECKING:
    from nearcache.django.backend import Backend

# How often `incr` retries when other callers add and delete the same key at the same time.
_INCR_ATTEMPTS = 10

# A `timedelta`, or a number in the unit that the method documents.
Duration = SupportsFloat | SupportsIndex | timedelta

_Cache = TypeVar("_Cache", bound=BaseCache)


def with_prefix(cache: _Cache, prefix: str) -> _Cache:
    """Returns a copy of a cache that has another ``KEY_PREFIX`` and the same entries."""
    copied = copy.copy(cache)
    copied.key_prefix = prefix
    return copied


class SyncMethods(AsyncSingleFlight):
    """Defines the synchronous methods of nearcache's backends."""

    def touch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> bool:
        """Sets the timeout of an entry, in seconds; returns whether the key was found.

        None means that the entry never expires. A timeout of 0 or less deletes the entry.
        """
        return _core.Backend.touch(self, key, timeout, version)

    def has_key(self, key: Any, version: Any = None) -> bool:
        """Returns whether the cache has an entry for a key. Does not read the value."""
        return _core.Backend.has_key(self, key, version)

    def incr(self, key: Any, delta: Any = 1, version: Any = None, *, ignore_key_check: bool = False) -> Any:
        """Adds ``delta`` to a value and returns the sum. Atomic; the expiry does not change.

        If the key is missing, raises `ValueError`; with ``ignore_key_check``, stores ``delta`` without an
        expiry and returns it. An exception that the addition raises is passed on.
        """
        if not ignore_key_check:
            return _core.Backend.incr(self, key, delta, version)
        for _ in range(_INCR_ATTEMPTS):
            try:
                return _core.Backend.incr(self, key, delta, version)
            except ValueError:
                if self.has_key(key, version):
                    raise
            if self.add(key, delta, None, version):
                return delta
        raise ValueError(f"cannot store {delta!r} for the key {key!r}: the entry is too large for the cache")

    def get_many(self, keys: Iterable[Any], version: Any = None) -> dict[Any, Any]:
        """Returns a dict of the given keys that were found, with their values."""
        return _core.Backend.get_many(self, keys, version)

    def set_many(
        self, data: Mapping[Any, Any], timeout: Any = DEFAULT_TIMEOUT, version: Any = None
    ) -> list[Any]:
        """Stores every value of a mapping; returns a list of the keys whose values were too large to store.

        ``timeout`` is in seconds and applies to all; None means that they never expire.
        """
        return _core.Backend.set_many(self, data, timeout, version)

    def delete_many(self, keys: Iterable[Any], version: Any = None) -> None:
        """Deletes the entries of the given keys. Keys that are missing are ignored."""
        _core.Backend.delete_many(self, keys, version)

    def clear(self) -> None:
        """Deletes all entries of the cache, including those with another ``KEY_PREFIX`` or version.

        Caches with the same ``LOCATION`` share their entries, so this empties all of them.
        """
        _core.Backend.clear(self)

    def ttl(self, key: Any, version: Any = None) -> int | None:
        """Returns the seconds until an entry expires, rounded; 0 if missing, None if it never expires."""
        return _core.Backend.ttl(self, key, version)

    def pttl(self, key: Any, version: Any = None) -> int | None:
        """Returns the milliseconds until an entry expires; 0 if missing, None if it never expires."""
        return _core.Backend.pttl(self, key, version)

    def expire(self, key: Any, timeout: Duration, version: Any = None) -> bool:
        """Lets an entry expire after a number of seconds; returns whether the key was found.

        ``timeout`` may also be a `timedelta`. A timeout of 0 or less deletes the entry.
        """
        return _core.Backend.expire(self, key, timeout, version)

    def pexpire(self, key: Any, timeout: Duration, version: Any = None) -> bool:
        """Lets an entry expire after a number of milliseconds; returns whether the key was found.

        ``timeout`` may also be a `timedelta`. A timeout of 0 or less deletes the entry.
        """
        return _core.Backend.pexpire(self, key, timeout, version)

    def expire_at(self, key: Any, when: float | datetime, version: Any = None) -> bool:
        """Lets an entry expire at a time; returns whether the key was found.

        ``when`` is in Unix seconds, or a `datetime`; a naive one is in local time. A time in the past deletes
        the entry.
        """
        return _core.Backend.expire_at(self, key, when, version)

    def pexpire_at(self, key: Any, when: float | datetime, version: Any = None) -> bool:
        """Lets an entry expire at a time in Unix milliseconds, or at a `datetime`; see `expire_at`."""
        return _core.Backend.pexpire_at(self, key, when, version)

    def persist(self, key: Any, version: Any = None) -> bool:
        """Removes the expiry of an entry; returns whether the key was found and had one."""
        return _core.Backend.persist(self, key, version)

    def iter_keys(self, search: str, itersize: int | None = None, version: Any = None) -> Iterator[str]:
        """Returns an iterator over the keys that match a glob and have this ``KEY_PREFIX`` and version.

        The keys are without prefix and version, and in no particular order. The cost is that of a walk over
        all entries of the cache, in steps that follow the iterator. A key that exists during the whole walk
        is returned once; a key that is added or deleted meanwhile may be returned or not. ``itersize`` has no
        effect; django-redis has it. Raises `ImproperlyConfigured` if the cache has a ``KEY_FUNCTION`` and no
        ``REVERSE_KEY_FUNCTION``.
        """
        return _core.Backend.iter_keys(self, search, itersize, version)

    def keys(self, search: str, version: Any = None) -> list[str]:
        """Returns a list of the keys that match a glob; see `iter_keys`."""
        return list(self.iter_keys(search, version=version))

    def delete_pattern(  # type: ignore[override]
        self, pattern: str, version: Any = None, prefix: str | None = None, itersize: int | None = None
    ) -> int:
        """Deletes the entries whose keys match a glob; returns how many.

        Finds the keys as `iter_keys` does, at the same cost. As `delete` does, it also deletes the old values
        of these keys that `get_or_set` might return, and lets no value be stored whose computation began
        before. ``prefix`` replaces the ``KEY_PREFIX`` of this cache. ``itersize`` has no effect.
        """
        cache = self if prefix is None else with_prefix(self, prefix)
        return _core.Backend.delete_pattern(cache, pattern, version, itersize)

    def lock(  # noqa: PLR0917 (django-redis's signature)
        self,
        key: Any,
        version: Any = None,
        timeout: float | None = None,
        sleep: float = 0.1,
        blocking: bool = True,
        blocking_timeout: float | None = None,
        thread_local: bool = True,
    ) -> Lock:
        """Returns a `Lock` that is stored in this cache under ``key``; see `Lock` for the arguments."""
        return Lock(
            cast("Backend", self),
            key,
            version=version,
            timeout=timeout,
            sleep=sleep,
            blocking=blocking,
            blocking_timeout=blocking_timeout,
            thread_local=thread_local,
        )

    def stats(self) -> _core.Stats:
        """Returns the counters, the size and the capacity of the cache, as a `Stats` object.

        A LocalCache counts for this process, a SharedCache for all processes that use the file.
        """
        return _core.Backend.stats(self)

    def reset_stats(self) -> None:
        """Sets the counters and the age in `stats` to zero, for all users of the cache. Keeps the entries."""
        _core.Backend.reset_stats(self)
