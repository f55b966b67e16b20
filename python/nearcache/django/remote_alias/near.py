"""`Near`: the near copies of another cache's entries."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

from django.core.cache.backends.base import BaseCache
from django.core.exceptions import ImproperlyConfigured

from nearcache.django.backend import Backend
from nearcache.django.local import LocalCache
from nearcache.django.remote_alias.options import AliasOptions
from nearcache.django.shared import SharedCache

MISSING = object()
# A longer key is hashed: a SharedCache has a limit.
_MAX_KEY_LENGTH = 1000
_STRIPES = 1024


class Stamps:
    """A number for each stripe of keys, which every write of this process changes."""

    def __init__(self) -> None:
        """Gives all keys the same number."""
        # A number is never used again, so that a slow write cannot restore one that a reader knows.
        self._numbers = itertools.count()
        self._stamps = [0] * _STRIPES

    def read(self, key: str) -> int:
        """Returns the number of a key."""
        return self._stamps[hash(key) % _STRIPES]

    def change(self, key: str) -> None:
        """Changes the number of a key, and of the others in its stripe."""
        self._stamps[hash(key) % _STRIPES] = next(self._numbers)

    def change_all(self) -> None:
        """Changes the numbers of all keys."""
        self._stamps[:] = [next(self._numbers)] * _STRIPES


# By the LOCATION of the near tier, which caches of this process may have in common.
_STAMPS: dict[str, Stamps] = {}
_SOURCES: dict[str, str] = {}


class Near:
    """The near tier: the copies, and what keeps a read from storing one that a write has overtaken."""

    def __init__(self, copies: Backend, options: AliasOptions) -> None:
        """Keeps copies in the cache ``copies``."""
        self.copies = copies
        self._seconds = options.near_ttl
        self._stamps = _STAMPS.setdefault(options.near_location, Stamps())

    def get(self, key: str) -> Any:
        """Returns the copy of a key, or `MISSING`."""
        return self.copies.get(key, MISSING)

    def stamp(self, key: str) -> int:
        """Returns what `keep` needs. Call this before the read of the remote cache."""
        return self._stamps.read(key)

    def keep(self, key: str, value: Any, stamp: int) -> None:
        """Stores a copy, unless this process has written the key since the stamp."""
        if self._stamps.read(key) != stamp:
            return
        # A value that cannot be copied is read from the remote cache every time.
        with contextlib.suppress(Exception):
            self.copies.set(key, value, self._seconds)
        if self._stamps.read(key) != stamp:
            self.copies.delete(key)

    def drop(self, keys: Iterable[str]) -> None:
        """Deletes copies."""
        for key in keys:
            self._stamps.change(key)
            self.copies.delete(key)

    def clear(self) -> None:
        """Deletes all copies."""
        self._stamps.change_all()
        self.copies.clear()


class NoNear(Near):
    """The near tier of ``NEAR`` None, which has no copies."""

    def get(self, key: str) -> Any:
        """Returns `MISSING`."""
        return MISSING

    def keep(self, key: str, value: Any, stamp: int) -> None:
        """Stores nothing."""

    def drop(self, keys: Iterable[str]) -> None:
        """Deletes nothing."""

    def clear(self) -> None:
        """Deletes nothing."""


class StoredKeys(Backend):
    """Takes stored keys of another cache as they are."""

    def make_and_validate_key(self, key: Any, version: Any = None) -> Any:
        """Returns the key."""
        return key


class _LocalCopies(StoredKeys, LocalCache):
    """A near tier in this process."""


class _SharedCopies(StoredKeys, SharedCache):
    """A near tier on this machine."""


def open_near(options: AliasOptions) -> Near:
    """Opens the near tier. Raises `ImproperlyConfigured`."""
    return (NoNear if options.near is None else Near)(_open_copies(options), options)


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


def near_key(remote: BaseCache, key: Any, version: Any) -> str:
    """Returns the key of a near copy: the stored key, or its hash if it is long."""
    stored = str(remote.make_key(key, version=version))
    if len(stored) > _MAX_KEY_LENGTH:
        return sha256(stored.encode("utf-8", "surrogatepass")).hexdigest()
    return stored
