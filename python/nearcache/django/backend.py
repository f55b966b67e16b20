"""`Backend`: what our caches have in common, whatever they keep their entries in.

The engine, ``nearcache._core``, does the work. The plain methods are in `sync`, the ``a...`` methods in
`asynchronous`, locks in `locks`.
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
    """The base of our caches.

    Subclasses may override any method, and any may be assigned on an instance. If a method that an instance
    calls by itself (``make_key`` in ``get``, ``get`` in ``get_many``) is replaced on its class, only
    instances made later notice.
    """

    pickle_protocol = pickle.HIGHEST_PROTOCOL
    # Returns the key that a KEY_FUNCTION made a stored key of. A subclass may have it as a method.
    reverse_key_func: Callable[[str], str] | None = None
    # As Django's, but None is "no such bound".
    _max_entries: int | None  # type: ignore[assignment]
    _max_memory: int | None
    _cull_frequency: int | None  # type: ignore[assignment]

    def __copy__(self) -> Self:
        """Return another handle on the same store, with settings of its own."""
        kind = type(self)
        handle = kind.__new__(kind)
        vars(handle).update(vars(self))
        for name in _slots(kind):
            if hasattr(self, name):
                setattr(handle, name, getattr(self, name))
        handle._open_as(self)
        return handle

    def __reduce__(self) -> NoReturn:
        """Refuse pickling and deep copies, as LocMemCache does: a store belongs to its process or file.

        Raises TypeError.
        """
        raise TypeError(
            f"cannot pickle {type(self).__name__!r} object: pass the cache's alias instead, and look it up "
            "with django.core.cache.caches[alias] where it is needed"
        )


def _slots(kind: type) -> list[str]:
    """Return the names of the ``__slots__`` of a class and its bases, as `copy` finds them."""
    names: list[str] = copyreg._slotnames(kind)  # type: ignore[attr-defined]
    return names
