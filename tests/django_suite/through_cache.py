"""Stands in for the module `pickle` in Django's tests of pickling: values go through a LocalCache instead."""

import pickle
from dataclasses import dataclass
from itertools import count

from nearcache.django import LocalCache

CACHE = LocalCache("through-cache", {"TIMEOUT": None})
NUMBERS = count()
MISSING = object()


@dataclass(frozen=True)
class Stored:
    """Stands in for a pickle."""

    key: str


def dumps(value, protocol=None):
    """Store a value. The protocol makes no difference: LocalCache uses the highest."""
    stored = Stored(f"value-{next(NUMBERS)}")
    CACHE.set(stored.key, value)
    return stored


def loads(stored):
    """Return a stored value, rebuilt."""
    value = CACHE.get(stored.key, MISSING)
    if value is MISSING:
        raise LookupError(stored.key)
    return value


def __getattr__(name):
    return getattr(pickle, name)
