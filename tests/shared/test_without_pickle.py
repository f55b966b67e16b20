"""With ``OPTIONS["PICKLE"] = False``, a SharedCache neither writes nor loads pickles."""

import asyncio
import enum
import os
import pickle
import sys

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse

from nearcache.django import LocalCache, SharedCache
from support.sample_values import Box, MyDict, MyStr, Point, nested

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="SharedCache is for Linux")

REFUSED = {
    "dataclass": lambda: Box(1),
    "dataclass in a list": lambda: {"a": [Box(1)]},
    "namedtuple": lambda: Point(1, 2),
    "dict subclass": lambda: MyDict(a=1),
    "str subclass as a key": lambda: {MyStr("a"): 1},
    "response": HttpResponse,
    "enum": lambda: enum.Enum("Color", "RED").RED,
    "lone surrogate": lambda: ["\ud800"],
    "too deep": lambda: nested(100, lambda inner: [inner]),
    "function": lambda: nested,
    "lambda": lambda: lambda: None,
}
MESSAGE = r'nearcache: OPTIONS\["PICKLE"\] is False, and this value cannot be stored without pickle: '
refused = pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)


@pytest.fixture
def path(shared_memory):
    return str(shared_memory / f"no-pickle-{os.urandom(4).hex()}")


def opened(path, **options):
    return SharedCache(path, {"OPTIONS": {"MAX_MEMORY": "1MB", **options}})


@pytest.fixture
def cache(path):
    return opened(path, PICKLE=False)


@pytest.fixture(autouse=True)
def no_pickle(monkeypatch, request):
    """Let pickle fail."""
    if "trusting" not in request.fixturenames:

        def fail(*args, **kwargs):
            raise AssertionError("pickle was called")

        monkeypatch.setattr(pickle, "dumps", fail)
        monkeypatch.setattr(pickle, "loads", fail)


@pytest.fixture
def trusting(path):
    """Return a cache in the same file that uses pickle."""
    return opened(path)


class TestRefusedValue:
    @refused
    def test_raises_and_keeps_the_old_value(self, cache, make):
        cache.set("key", "old")
        with pytest.raises(TypeError, match=MESSAGE):
            cache.set("key", make())
        assert cache.get("key") == "old"

    def test_message_names_the_type_and_what_is_accepted(self, cache):
        with pytest.raises(
            TypeError, match=r"it is or contains an object of type support\.sample_values\.Box\. "
        ):
            cache.set("key", {"a": [Box(1)]})
        with pytest.raises(TypeError, match="nested more than 64 deep"):
            cache.set("key", nested(100, lambda inner: [inner]))
        with pytest.raises(TypeError, match="lone surrogates"):
            cache.set("key", "\udfff")

    def test_in_every_operation(self, cache):
        value = Box(1)
        cache.set("number", 1)
        for operation in (
            lambda: cache.set("key", value),
            lambda: cache.set("key", value, nx=True),
            lambda: cache.set("number", value, xx=True),
            lambda: cache.add("key", value),
            lambda: cache.get_or_set("key", value),
            lambda: cache.get_or_set("key", lambda: value),
            lambda: cache.set_many({"key": value}),
            lambda: cache.incr("number", Adds()),
            lambda: asyncio.run(cache.aset("key", value)),
            lambda: asyncio.run(cache.aadd("key", value)),
            lambda: asyncio.run(cache.aset_many({"key": value})),
            lambda: asyncio.run(cache.aget_or_set("key", value)),
            lambda: asyncio.run(cache.aincr("number", Adds())),
        ):
            with pytest.raises(TypeError, match=MESSAGE):
                operation()
            assert cache.get("number") == 1
            assert cache.get("key") is None

    def test_set_many_stores_what_comes_before(self, cache):
        with pytest.raises(TypeError, match=MESSAGE):
            cache.set_many({"first": [1], "second": Box(1), "third": [3]})
        assert cache.get_many(["first", "second", "third"]) == {"first": [1]}


class Adds:
    """A number whose sum cannot be stored."""

    def __radd__(self, other):
        return Box(other)


class TestAcceptedValue:
    def test_is_stored(self, cache):
        value = {"rows": [{"id": 1, "tags": ("a", {1})}], 5: None}
        cache.set("key", value)
        assert [cache.get("key") for _ in range(4)] == [value] * 4
        assert cache.stats().object_hits == 2

    def test_counters_and_locks_work(self, cache):
        cache.set("number", 2**62)
        assert cache.incr("number", 2**62) == 2**63
        cache.set("real", 1.5)
        assert cache.incr("real", 1) == 2.5
        with cache.lock("lock"):
            assert cache.get("lock") is not None


class TestPickleInTheFile:
    def test_is_a_miss_that_is_counted(self, trusting, path):
        trusting.set("key", Box(1))
        trusting.set("other", [1])
        cache = opened(path, PICKLE=False)
        cache.reset_stats()
        assert cache.get("key", "default") == "default"
        assert cache.get_many(["key", "other"]) == {"other": [1]}
        stats = cache.stats()
        assert (stats.hits, stats.misses, stats.unreadable) == (1, 2, 2)

    def test_is_not_loaded(self, trusting, path):
        trusting.set("key", Loud())
        for name in ("get", "incr", "get_or_set"):
            cache = opened(path, PICKLE=False)
            if name == "get":
                assert cache.get("key") is None
            elif name == "incr":
                with pytest.raises(ValueError, match="not found"):
                    cache.incr("key")
                with pytest.raises(ValueError, match="not found"):
                    cache.incr("key", 1.5)
            else:
                # There is an entry, so `add` does not replace it, as Django's does not.
                assert cache.get_or_set("key", 5) == 5
        assert Loud.loaded == 0
        trusting.get("key")
        assert Loud.loaded == 1

    def test_is_not_taken_from_the_objects_that_another_alias_keeps(self, trusting, path):
        trusting.set("key", [Box(1)])
        for _ in range(4):
            assert trusting.get("key") == [Box(1)]
        assert opened(path, PICKLE=False).get("key") is None

    def test_is_overwritten(self, trusting, path):
        trusting.set("key", Box(1))
        cache = opened(path, PICKLE=False)
        cache.set("key", [1])
        assert cache.get("key") == trusting.get("key") == [1]

    def test_reason_is_logged_once(self, trusting, path, caplog):
        trusting.set("key", Box(1))
        cache = opened(path, PICKLE=False)
        for _ in range(3):
            cache.get("key")
        (record,) = [record for record in caplog.records if "cannot read the value" in record.message]
        assert 'it is a pickle, and OPTIONS["PICKLE"] is False' in record.message


class Loud:
    """Counts how often it is unpickled."""

    loaded = 0

    def __reduce__(self):
        return load, ()


def load():
    Loud.loaded += 1


class TestOption:
    @pytest.mark.parametrize("wrong", [None, 0, 1, "False", "no", []])
    def test_must_be_a_bool(self, path, wrong):
        with pytest.raises(ImproperlyConfigured, match=r'OPTIONS\["PICKLE"\] is .*; expected True or False'):
            opened(path, PICKLE=wrong)

    def test_is_for_a_shared_cache_only(self):
        with pytest.raises(ImproperlyConfigured, match="unknown name 'PICKLE'"):
            LocalCache("no-pickle", {"OPTIONS": {"PICKLE": False}})

    def test_beside_options_is_an_error(self, path):
        with pytest.raises(ImproperlyConfigured, match="PICKLE is beside OPTIONS"):
            SharedCache(path, {"PICKLE": False, "OPTIONS": {"MAX_MEMORY": "1MB"}})

    def test_true_is_the_default(self, trusting):
        trusting.set("key", Box(1))
        assert trusting.get("key") == Box(1)
