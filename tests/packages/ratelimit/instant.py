"""Backends of ours in which what is added expires at once."""

from nearcache import django


class Instant:
    def add(self, key, value, timeout=None, version=None):
        return super().add(key, value, timeout=0, version=version)


class LocalCache(Instant, django.LocalCache):
    pass


class SharedCache(Instant, django.SharedCache):
    pass
