"""The plain methods that are Python functions around the engine's.

Tools look into Python functions: `unittest.mock` binds ``self``, ``typing.get_type_hints`` finds the
annotations, tracers rewrite the code, Django 6.1 compares their ``__func__``. ``get``, ``set``, ``add`` and
``delete`` stay the engine's own, because a function around them costs time at every call;
`nearcache.django.traced` has functions for them, too.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, SupportsFloat, SupportsIndex, TypeVar

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache

from nearcache import _core
from nearcache.django.locks import Lock

# Other callers may add and delete a key meanwhile, but not this often.
_ATTEMPTS = 10

# A number of the unit that a method names, or a `timedelta`.
Duration = SupportsFloat | SupportsIndex | timedelta

_Cache = TypeVar("_Cache", bound=BaseCache)


def with_prefix(cache: _Cache, prefix: str) -> _Cache:
    """Return another handle on the store of a cache, with that ``KEY_PREFIX``."""
    handle = copy.copy(cache)
    handle.key_prefix = prefix
    return handle


class SyncMethods(_core.Backend, BaseCache):
    """The synchronous half of our caches."""

    def touch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> bool:
        """Set a new timeout for a key; return whether there was a value."""
        return _core.Backend.touch(self, key, timeout, version)

    def has_key(self, key: Any, version: Any = None) -> bool:
        """Return whether there is a value under a key."""
        return _core.Backend.has_key(self, key, version)

    def incr(self, key: Any, delta: Any = 1, version: Any = None, *, ignore_key_check: bool = False) -> Any:
        """Add ``delta`` to a value, atomically, keeping its expiry; return the sum.

        Raises ValueError if there is no value, and whatever the addition raises. With ``ignore_key_check`` a
        missing key is no error: ``delta`` is stored without an expiry.
        """
        if not ignore_key_check:
            return _core.Backend.incr(self, key, delta, version)
        for _ in range(_ATTEMPTS):
            try:
                return _core.Backend.incr(self, key, delta, version)
            except ValueError:
                if self.has_key(key, version):
                    raise
            if self.add(key, delta, None, version):
                return delta
        raise ValueError(f"cannot store {delta!r} under the key {key!r}: it does not fit into the cache")

    def get_many(self, keys: Iterable[Any], version: Any = None) -> dict[Any, Any]:
        """Return a dict of those of the keys that there are values for."""
        return _core.Backend.get_many(self, keys, version)

    def set_many(
        self, data: Mapping[Any, Any], timeout: Any = DEFAULT_TIMEOUT, version: Any = None
    ) -> list[Any]:
        """Store every value of a dict; return a list of the keys whose values were too large."""
        return _core.Backend.set_many(self, data, timeout, version)

    def delete_many(self, keys: Iterable[Any], version: Any = None) -> None:
        """Remove the values of all these keys."""
        _core.Backend.delete_many(self, keys, version)

    def clear(self) -> None:
        """Remove everything from the store, whatever its prefix and version."""
        _core.Backend.clear(self)

    def ttl(self, key: Any, version: Any = None) -> int | None:
        """Return the seconds a key has to live, to the nearest: 0 if missing, None if it does not expire."""
        return _core.Backend.ttl(self, key, version)

    def pttl(self, key: Any, version: Any = None) -> int | None:
        """Return the milliseconds a key has to live: 0 if missing, None if it does not expire."""
        return _core.Backend.pttl(self, key, version)

    def expire(self, key: Any, timeout: Duration, version: Any = None) -> bool:
        """Let a key live for so many seconds from now; return whether there was a value.

        Zero and less removes it.
        """
        return _core.Backend.expire(self, key, timeout, version)

    def pexpire(self, key: Any, timeout: Duration, version: Any = None) -> bool:
        """Let a key live for so many milliseconds from now; return whether there was a value.

        Zero and less removes it.
        """
        return _core.Backend.pexpire(self, key, timeout, version)

    def expire_at(self, key: Any, when: float | datetime, version: Any = None) -> bool:
        """Let a key live until a time; return whether there was a value.

        The time is in Unix seconds, or a ``datetime`` (naive: local time). A time in the past removes the
        value.
        """
        return _core.Backend.expire_at(self, key, when, version)

    def pexpire_at(self, key: Any, when: float | datetime, version: Any = None) -> bool:
        """Let a key live until a time in Unix milliseconds, or a ``datetime``; see `expire_at`."""
        return _core.Backend.pexpire_at(self, key, when, version)

    def persist(self, key: Any, version: Any = None) -> bool:
        """Remove a key's expiry; return whether there was a value that was to expire."""
        return _core.Backend.persist(self, key, version)

    def iter_keys(self, search: str, itersize: int | None = None, version: Any = None) -> Iterator[str]:
        """Return an iterator over the keys of this prefix and version that match a glob, in no order.

        Keys come without prefix and version. The store is searched while the iterator is used: a key that is
        there all the while is found once, one that comes or goes may be found or not. ``itersize`` has no
        effect. Raises `ImproperlyConfigured` if a function makes the keys and nothing reverses it.
        """
        return _core.Backend.iter_keys(self, search, itersize, version)

    def keys(self, search: str, version: Any = None) -> list[str]:
        """Return a list of the keys of this prefix and version that match a glob; see `iter_keys`."""
        return list(self.iter_keys(search, version=version))

    def delete_pattern(  # type: ignore[override]
        self, pattern: str, version: Any = None, prefix: str | None = None, itersize: int | None = None
    ) -> int:
        """Delete the entries whose keys match a glob; return how many.

        ``prefix`` takes the place of this cache's ``KEY_PREFIX``. ``itersize`` has no effect.
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
        """Return a lock for all who share the cache; see `Lock` for what it does and its arguments."""
        return Lock(
            self,
            key,
            version=version,
            timeout=timeout,
            sleep=sleep,
            blocking=blocking,
            blocking_timeout=blocking_timeout,
            thread_local=thread_local,
        )

    def stats(self) -> _core.Stats:
        """Return what the store has counted in this process, what it holds, and how much it may hold."""
        return _core.Backend.stats(self)

    def reset_stats(self) -> None:
        """Set the counts and the age of `stats` to zero, for every handle of the store. Entries stay."""
        _core.Backend.reset_stats(self)
