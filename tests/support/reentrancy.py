"""Callbacks that use the cache, and values that call them."""

import contextlib
import uuid
import weakref

import pytest
from django.core.exceptions import ImproperlyConfigured

from nearcache.django import LocalCache, LockError

LOCATION = "reentrancy"


def new_cache(**settings):
    """Make a new handle of the same store; settings of ours go into OPTIONS."""
    options = {
        name: settings.pop(name) for name in list(settings) if name in {"MAX_ENTRIES", "EVICTION", "CLOCK"}
    }
    return LocalCache(LOCATION, {"TIMEOUT": None, "OPTIONS": options, **settings})


def use(cache, key="key"):
    """Call every method of Django's caches, and ours with `use_extensions`."""
    cache.get(key)
    cache.set(key, "from within")
    cache.add(key, ["from within"])
    with contextlib.suppress(ValueError, TypeError):
        cache.incr(key)
    cache.touch(key, 100)
    use_extensions(cache, key)
    cache.has_key(key)
    cache.get_many([key, "other"])
    cache.set_many({key: {"from": "within"}, "other": 1})
    cache.delete_many(["other"])
    cache.delete(key)
    cache.stats()
    cache.clear()
    cache.set(key, "from within")


def use_extensions(cache, key):
    """Call methods that Django's caches lack; without keys() if KEY_FUNCTION cannot be reversed."""
    cache.set(key, "from within", nx=True)
    cache.set(key, "from within", xx=True)
    cache.expire(key, 100)
    cache.ttl(key)
    cache.persist(key)
    cache.pexpire_at(key, 4e12)
    lock = cache.lock("lock", timeout=100)
    if lock.acquire(blocking=False):
        with contextlib.suppress(LockError):  # a callback may clear the cache
            lock.extend(5)
            lock.release()
    with contextlib.suppress(ImproperlyConfigured):
        cache.keys("*")
        cache.delete_pattern("other*")


def last_reference(callback):
    """Return a new object that the cache keeps by reference; `callback()` is called when it is destroyed."""
    value = uuid.uuid4()
    reference = weakref.ref(value, lambda _: callback())
    KEPT.append(reference)
    return value


KEPT = []


class Hooked:
    """A value whose hooks are called when it is pickled, unpickled and added to; each hook once."""

    on_pickle = on_unpickle = on_add = None

    def __init__(self, number=0):
        self.number = number

    @classmethod
    def run(cls, hook):
        function = getattr(cls, hook)
        setattr(cls, hook, None)
        if function:
            function()

    def __getstate__(self):
        self.run("on_pickle")
        return {"number": self.number}

    def __setstate__(self, state):
        self.run("on_unpickle")
        self.number = state["number"]

    def __add__(self, delta):
        self.run("on_add")
        return Hooked(self.number + delta)


@pytest.fixture(autouse=True)
def hooks_are_unset():
    assert (Hooked.on_pickle, Hooked.on_unpickle, Hooked.on_add) == (None, None, None)


class StoringHook:
    """Counts its calls and uses a cache, but leaves its other entries as they are."""

    def __init__(self, cache):
        self.cache, self.calls = cache, 0

    def __call__(self):
        self.calls += 1
        self.cache.set("another", "from within")
        self.cache.add("added", 1)
        self.cache.get_many(["another", "key"])
        self.cache.delete("nothing")


class Recorder:
    """Counts its calls and uses a cache in each, clearing it too; a call from within one does nothing."""

    def __init__(self, cache, key="key"):
        self.cache, self.key = cache, key
        self.calls = 0
        self.busy = False

    def __call__(self, *_):
        if self.busy:
            return
        self.busy = True
        try:
            use(self.cache, self.key)
        finally:
            self.busy = False
        self.calls += 1
