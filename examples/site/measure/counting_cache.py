"""Counts the hits and misses of any cache backend with a wrapper.

A wrapper and not a subclass, so that calls inside a backend are not counted twice: `LocMemCache.get_or_set`
calls its own `get`, other backends do not. Counts `get`, `get_many` (each key), `get_or_set` and their
asynchronous counterparts. A stored `None` is a hit.
"""

from django.core.cache.backends.base import DEFAULT_TIMEOUT

from measure.counters import HITS, MISSES, counters

MISSING = object()


class CountingCache:
    """Wraps a cache backend. Forwards all methods and counts the reads."""

    def __init__(self, cache):
        self._counted_cache = cache

    def __getattr__(self, name):
        return getattr(self._counted_cache, name)

    def __contains__(self, key):
        return key in self._counted_cache

    def get(self, key, default=None, version=None):
        value = self._counted_cache.get(key, MISSING, version=version)
        return _counted_get(value, default)

    async def aget(self, key, default=None, version=None):
        value = await self._counted_cache.aget(key, MISSING, version=version)
        return _counted_get(value, default)

    def get_many(self, keys, version=None):
        keys = list(keys)
        return _counted_get_many(self._counted_cache.get_many(keys, version=version), keys)

    async def aget_many(self, keys, version=None):
        keys = list(keys)
        return _counted_get_many(await self._counted_cache.aget_many(keys, version=version), keys)

    def get_or_set(self, key, default, timeout=DEFAULT_TIMEOUT, version=None):
        recorded = RecordedDefault(default)
        value = self._counted_cache.get_or_set(key, recorded, timeout=timeout, version=version)
        counters.add(MISSES if recorded.was_called else HITS)
        return value

    async def aget_or_set(self, key, default, timeout=DEFAULT_TIMEOUT, version=None):
        recorded = RecordedDefault(default)
        value = await self._counted_cache.aget_or_set(key, recorded, timeout=timeout, version=version)
        counters.add(MISSES if recorded.was_called else HITS)
        return value


class RecordedDefault:
    """The default of `get_or_set`, which a backend calls only on a miss; records whether it was called."""

    def __init__(self, default):
        self._default = default
        self.was_called = False

    def __call__(self):
        self.was_called = True
        return self._default() if callable(self._default) else self._default


def _counted_get(value, default):
    if value is MISSING:
        counters.add(MISSES)
        return default
    counters.add(HITS)
    return value


def _counted_get_many(found, keys):
    counters.add(HITS, len(found))
    counters.add(MISSES, len(set(keys)) - len(found))
    return found
