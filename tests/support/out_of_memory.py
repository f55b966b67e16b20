"""Operations to run while memory is exhausted: Python's allocator fails, or the process is at its limit."""

import contextlib
import ctypes
import datetime
import resource
import tempfile
from array import array
from functools import partial
from pathlib import Path

from nearcache import _core
from nearcache.django import LocalCache, SharedCache

LIST = list(range(300, 600))
TREE = {"numbers": [[1.5, 2.5], {"a": (1, [2])}], "set": {300, 301}, "tuple": ({}, "text")}
SHAPES = {
    "int": 2**40,
    "large_int": 2**200,
    "float": 2.5,
    "text": "text" * 100,
    "wide": "\N{SNOWMAN}" * 300,
    "latin": "\xe9" * 300,
    "bytes": b"bytes" * 100,
    "list": LIST,
    "tree": TREE,
    "tuple": (1.5, ("a", (2.5,))),
    "nested": tuple((str(number), [number]) for number in range(300, 320)),
    "frozenset": frozenset({300, 301}),
    "pickled": datetime.timezone(datetime.timedelta(hours=1), "name"),
    "object": Path("a/b"),
    "none": None,
}


def _set(shape):
    return lambda cache: cache.set("new", SHAPES[shape], 300)


def _get(shape):
    def get(cache):
        value = cache.get(shape, "missing")
        # Its type only, since comparing takes memory.
        assert type(value) is type(SHAPES[shape])

    return get


def _lock(cache):
    lock = cache.lock("lock", timeout=60)
    try:
        if lock.acquire(blocking=False):
            lock.owned()
            lock.extend(5)
            lock.release()
    finally:
        lock.local.token = None


# Operations that change only the keys "new", "count" and "lock".
OPERATIONS = {
    **{f"set_{shape}": _set(shape) for shape in SHAPES},
    **{f"get_{shape}": _get(shape) for shape in SHAPES},
    "get_missing": lambda cache: cache.get("missing"),
    "get_version": lambda cache: cache.get("int", version=10**12),
    "get_wide_key": lambda cache: cache.get("\N{SNOWMAN}" * 20),
    "get_long_key": lambda cache: cache.get("int" + "x" * 50),
    "add": lambda cache: cache.add("new", LIST),
    "set_nx": lambda cache: cache.set("new", LIST, nx=True),
    "get_many": lambda cache: cache.get_many(["int", "list", "missing"]),
    "set_many": lambda cache: cache.set_many({"new": LIST, "count": 1000}),
    "delete_many": lambda cache: cache.delete_many(["new", "missing"]),
    "delete": lambda cache: cache.delete("new"),
    "incr": lambda cache: cache.incr("count"),
    "incr_large": lambda cache: cache.incr("count", 2**70) and cache.incr("count", -(2**70)),
    "has_key": lambda cache: cache.has_key("int"),
    "touch": lambda cache: cache.touch("int", None),
    "expire": lambda cache: cache.expire("missing", datetime.timedelta(seconds=1000)),
    "pttl": lambda cache: (cache.pttl("expiring"), cache.ttl("expiring")),
    "keys": lambda cache: cache.keys("*"),
    "keys_by_class": lambda cache: cache.keys("[a-z]*t"),
    "delete_pattern": lambda cache: cache.delete_pattern("new*"),
    "stats": lambda cache: repr(cache.stats()) and (cache.stats().memory, cache.stats().age),
    "lock": _lock,
    "attribute": lambda cache: setattr(cache, "default_timeout", 300.5),
    "get_or_set": lambda cache: cache.get_or_set("new", LIST),
}

# Calls that fail with these errors in any case, made without a Python function.
REFUSED = [
    (lambda cache: partial(cache.set, "new", 1, "soon"), TypeError),
    (lambda cache: partial(cache.set, "new", 1, nx="yes"), TypeError),
    (lambda cache: partial(cache.set, "new", 1, nx=True, xx=True), ValueError),
    (lambda cache: partial(_core.Backend.incr, cache, "\N{SNOWMAN}"), ValueError),
    (lambda cache: partial(_core.Backend.incr, cache, "text"), TypeError),
    (lambda cache: partial(cache.keys, 5), TypeError),
    (lambda cache: partial(cache.expire_at, "int", datetime.datetime(1, 1, 1)), ValueError),
    (lambda cache: partial(setattr, cache, "_cull_frequency", -1), TypeError),
]


@contextlib.contextmanager
def filled(kind):
    """Make a cache of this kind, with a value of every shape under the shape's name."""
    with tempfile.TemporaryDirectory() as directory:
        if kind == "local":
            cache = LocalCache("short", {})
        else:
            cache = SharedCache(f"{directory}/cache", {"OPTIONS": {"MAX_MEMORY": "1MB"}})
        restore(cache)
        yield cache


def restore(cache):
    """Store the values that operations use, which also imports all that they need."""
    for shape, value in SHAPES.items():
        cache.set(shape, value, None)
    cache.set("count", 1000)
    cache.set("expiring", 1, 1000)


def check(cache):
    """Fail unless the cache still has its values and is usable."""
    for shape, value in SHAPES.items():
        assert cache.get(shape) == value, shape
    assert cache.get("new") in [None, *SHAPES.values()]
    cache.set("usable", LIST)
    assert cache.get("usable") == LIST
    cache.delete_many(["new", "usable", "lock"])
    if isinstance(cache, SharedCache):
        cache.verify()


class Exhausted:
    """Allocates all memory that the process may have; `release` frees some of it."""

    SIZES = (1 << 22, 1 << 16, 4096, 512, 128, 24)
    MOST = 400_000

    def __init__(self):
        libc = ctypes.CDLL(None)
        self.malloc, self.free = libc.malloc, libc.free
        self.malloc.restype, self.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
        self.free.restype, self.free.argtypes = None, [ctypes.c_void_p]
        self.blocks = array("Q", bytes(8 * self.MOST))
        self.taken = 0

    def __enter__(self):
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (1 << 20), most))
        self.most = most
        for size in self.SIZES:
            while self.taken < self.MOST and (block := self.malloc(size)):
                self.blocks[self.taken] = block
                self.taken += 1
        return self

    def __exit__(self, *_):
        self.release(self.taken)
        resource.setrlimit(resource.RLIMIT_AS, (self.most, self.most))

    def release(self, count):
        """Free the blocks that were allocated last."""
        for _ in range(min(count, self.taken)):
            self.taken -= 1
            self.free(self.blocks[self.taken])
