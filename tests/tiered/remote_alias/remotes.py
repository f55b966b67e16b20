"""Caches that are a remote tier."""

from django.core.cache.backends.locmem import LocMemCache

TIERED = "nearcache.django.TieredCache"
LOCMEM = "django.core.cache.backends.locmem.LocMemCache"
DUMMY = "django.core.cache.backends.dummy.DummyCache"
DATABASE = "django.core.cache.backends.db.DatabaseCache"
# Seconds.
LONG = 3600
FAILING = f"{__name__}.FailingCache"
INTERRUPTING = f"{__name__}.InterruptingCache"


class FailingCache(LocMemCache):
    """A cache whose server can be switched off: its methods raise `error`."""

    error = None


def _failing(name):
    def method(self, *args, **options):
        if FailingCache.error is not None:
            raise FailingCache.error
        return getattr(LocMemCache, name)(self, *args, **options)

    return method


for _name in ("get", "set", "add", "touch", "delete", "has_key", "incr", "clear"):
    setattr(FailingCache, _name, _failing(_name))


class InterruptingCache(LocMemCache):
    """A cache in which another thread's write happens between the read of a value and its return."""

    then = None

    def get(self, *args, **options):
        found = super().get(*args, **options)
        then, type(self).then = type(self).then, None
        if then is not None:
            then()
        return found
