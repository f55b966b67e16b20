"""Counts the hits and misses of any cache by standing in front of it.

A stand-in rather than a subclass: what a backend calls on itself (`LocMemCache.get_or_set` calls its own
`get`, another backend may not) is its own affair and is not counted twice. What counts are the reads that can
miss: `get`, `get_many` (each key), `get_or_set`, and their async twins. A stored `None` is a hit.
"""

from django.core.cache.backends.base import DEFAULT_TIMEOUT

from measure.counters import HITS, MISSES, counters

MISSING = object()


class CountingCache:
    """A cache as `caches[alias]` hands it out. What is not a counted read passes through unseen."""

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
        watched = WatchedDefault(default)
        value = self._counted_cache.get_or_set(key, watched, timeout=timeout, version=version)
        counters.add(MISSES if watched.was_asked else HITS)
        return value

    async def aget_or_set(self, key, default, timeout=DEFAULT_TIMEOUT, version=None):
        watched = WatchedDefault(default)
        value = await self._counted_cache.aget_or_set(key, watched, timeout=timeout, version=version)
        counters.add(MISSES if watched.was_asked else HITS)
        return value


class WatchedDefault:
    """The default of a `get_or_set`: a cache asks for it exactly if it has no value."""

    def __init__(self, default):
        self._default = default
        self.was_asked = False

    def __call__(self):
        self.was_asked = True
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
