"""Makes TieredCaches with each near tier, and Django's RedisCache beside them, on one server."""

from pathlib import Path

from django.core.cache.backends.redis import RedisCache

from nearcache.django import TieredCache

NEAR = (None, "local", "shared")


class Caches:
    """Makes caches on a server. `wire` is a connection to it that speaks the protocol and no more."""

    def __init__(self, server, near, folder):
        self.url, self.near = server.url, near
        self.wire = server.client()
        self._folder = Path(folder)
        self._theirs = []

    def make(self, kind=TieredCache, *, OPTIONS=None, **params):  # noqa: N803 (Django's name)
        """Make a TieredCache."""
        options = {"NEAR": self.near, **(OPTIONS or {})}
        if options["NEAR"] == "shared":
            # A file for each prefix, as by default, but in the folder of the test.
            name = f"near-{params.get('KEY_PREFIX', '')!r}-{params.get('KEY_FUNCTION')!r}"
            options.setdefault("NEAR_LOCATION", str(self._folder / name.encode().hex()))
            options.setdefault("MAX_MEMORY", "4MB")
        return kind(self.url, {**params, "OPTIONS": options})

    def django(self, **params):
        """Make a RedisCache of Django's."""
        cache = RedisCache(self.url, params)
        self._theirs.append(cache)
        return cache

    def close(self):
        """Close what Django's caches and this object hold."""
        self.wire.close()
        for cache in self._theirs:
            for pool in cache._cache._pools.values():
                pool.disconnect()
