"""`Backend`: what all of our caches have in common, beside where they keep things.

The methods a request waits for (``get``, ``set``, ``incr``, ``get_many`` ...) are Rust's, in
``nearcache._core``; the ``a...`` methods are in `asynchronous`, locks in `locks`.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT

from nearcache import _core
from nearcache.django.asynchronous import AsyncTwins
from nearcache.django.locks import Lock


class Backend(AsyncTwins):
    """The base of our caches.

    Subclasses may override any method, and any may be assigned on an instance. What a live instance calls by
    itself (``make_key`` in ``get``, ``get`` in ``get_many``) it does not notice being replaced on its class.
    """

    pickle_protocol = pickle.HIGHEST_PROTOCOL
    # Makes a key of a stored one again, which a KEY_FUNCTION made. A subclass may have it as a method.
    reverse_key_func: Callable[[str], str] | None = None
    # As Django's, but None is "no such bound".
    _max_entries: int | None  # type: ignore[assignment]
    _max_memory: int | None
    _cull_frequency: int | None  # type: ignore[assignment]

    # These five are Python's around Rust's: Django 6.1 asks them for their `__func__`, which Rust's have not.

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

    def has_key(self, key: Any, version: Any = None) -> bool:
        """Return whether there is a value under a key."""
        return _core.Backend.has_key(self, key, version)

    def incr(self, key: Any, delta: Any = 1, version: Any = None) -> Any:
        """Add ``delta`` to a value, atomically, keeping its expiry; return the sum.

        Raises ValueError if there is no value, and whatever the addition raises.
        """
        return _core.Backend.incr(self, key, delta, version)

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
