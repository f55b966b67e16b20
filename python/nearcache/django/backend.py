"""`Backend`, the common base class of `LocalCache`, `SharedCache` and `TieredCache`.

The extension module ``nearcache._core`` implements the cache. `SyncMethods` and `AsyncMethods` define the
Python functions around it; `locks` defines the locks.
"""

from __future__ import annotations

import copyreg
import pickle
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from nearcache.django.async_methods import AsyncMethods

if TYPE_CHECKING:
    from typing_extensions import Self


class Backend(AsyncMethods):
    """Base class of nearcache's backends.

    Subclasses may override every method, and every method may be replaced on an instance. Some methods call
    others: ``get`` calls ``make_key``, ``get_many`` calls ``get``. An instance looks up on creation which of
    these are overridden, so replacing one on the class affects only instances that are created later.
    """

    pickle_protocol = pickle.HIGHEST_PROTOCOL
    # The inverse of KEY_FUNCTION: takes a stored key, returns the key. A subclass may define it as a method.
    reverse_key_func: Callable[[str], str] | None = None
    # Django's attributes, except that None means unlimited.
    _max_entries: int | None  # type: ignore[assignment]
    _max_memory: int | None
    _cull_frequency: int | None  # type: ignore[assignment]
    # Of a SharedCache: whether values may be pickles, and the bytes of the objects that a process keeps.
    _pickles: bool = True
    _object_cache: int = 0

    def __copy__(self) -> Self:
        """Returns another cache object with the same entries; its attributes can be changed separately."""
        kind = type(self)
        copied = kind.__new__(kind)
        vars(copied).update(vars(self))
        for name in _slots(kind):
            if hasattr(self, name):
                setattr(copied, name, getattr(self, name))
        copied._open_as(self)
        return copied

    def __reduce__(self) -> NoReturn:
        """Raises `TypeError`: a cache can be neither pickled nor deep-copied, as is true of LocMemCache."""
        raise TypeError(
            f"cannot pickle {type(self).__name__!r} object: pass the alias of the cache instead, and use "
            "django.core.cache.caches[alias] where the cache is needed"
        )


def _slots(kind: type) -> list[str]:
    """Returns the names in the ``__slots__`` of a class and its bases, as `copy.copy` does."""
    names: list[str] = copyreg._slotnames(kind)  # type: ignore[attr-defined]
    return names
