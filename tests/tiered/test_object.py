"""A TieredCache as a Python object: subclasses, replaced methods, copies, mocks, and the traced class."""

import asyncio
import copy
import inspect
import pickle
from unittest import mock

import pytest

from nearcache.django import TieredCache, traced
from support.near_tiers import NEAR, Caches

ENTRIES = {"a": 1, "b": 2}


@pytest.fixture(params=NEAR, ids=str)
def caches(request, server, tmp_path):
    """Return what makes caches with one of the near tiers."""
    made = Caches(server, request.param, tmp_path)
    yield made
    made.close()


class Noting(TieredCache):
    """Notes the calls of four methods, all of which are synchronous."""

    def __init__(self, *args):
        self.calls = []
        super().__init__(*args)

    def get(self, *args, **more):
        self.calls.append("get")
        return super().get(*args, **more)

    def set(self, *args, **more):
        self.calls.append("set")
        return super().set(*args, **more)

    def add(self, *args, **more):
        self.calls.append("add")
        return super().add(*args, **more)

    def delete(self, *args, **more):
        self.calls.append("delete")
        return super().delete(*args, **more)


USES = {
    "get": (("a",), ["get"], 1),
    "set": (("a", 5), ["set"], None),
    "add": (("c", 5), ["add"], True),
    "delete": (("a",), ["delete"], True),
    "get_many": ((["a", "b"],), ["get", "get"], ENTRIES),
    "set_many": (({"a": 3, "c": 4},), ["set", "set"], []),
    "delete_many": ((["a", "b"],), ["delete", "delete"], None),
}
uses = pytest.mark.parametrize("name", USES)


class TestOverriddenMethods:
    @uses
    @pytest.mark.parametrize("twin", ["", "a"], ids=["sync", "async"])
    def test_of_a_subclass_are_called(self, caches, name, twin):
        arguments, calls, result = USES[name]
        cache = caches.make(Noting)
        cache.set_many(ENTRIES)
        cache.calls.clear()
        returned = getattr(cache, twin + name)(*arguments)
        assert (asyncio.run(returned) if twin else returned) == result
        assert cache.calls == calls

    @uses
    @pytest.mark.parametrize("twin", ["", "a"], ids=["sync", "async"])
    def test_of_an_instance_are_called(self, caches, name, twin):
        arguments, calls, result = USES[name]
        cache, made = caches.make(), []
        cache.set_many(ENTRIES)

        def note(method):
            original = getattr(cache, method)

            def noted(*args, **more):
                made.append(method)
                return original(*args, **more)

            setattr(cache, method, noted)

        for method in ("get", "set", "add", "delete"):
            note(method)
        returned = getattr(cache, twin + name)(*arguments)
        assert (asyncio.run(returned) if twin else returned) == result
        assert made == calls
        for method in ("get", "set", "add", "delete"):
            delattr(cache, method)
        cache.delete("c")
        cache.set_many(ENTRIES)
        returned = getattr(cache, twin + name)(*arguments)
        assert (asyncio.run(returned) if twin else returned) == result
        assert made == calls

    @pytest.mark.parametrize("fresh", [{}, {"fresh": False}, {"fresh": True}], ids=str)
    def test_get_is_told_by_aget_whether_to_be_fresh(self, caches, fresh):
        told = []

        class Fresh(TieredCache):
            def get(self, key, default=None, version=None, *, fresh=False):
                told.append(fresh)
                return super().get(key, default, version, fresh=fresh)

        cache = caches.make(Fresh)
        cache.set("a", 1)
        before = cache.stats().remote.remote_hits
        assert asyncio.run(cache.aget("a", **fresh)) == 1
        assert asyncio.run(cache.aget("a", **fresh)) == 1
        assert told == [fresh.get("fresh", False)] * 2
        if fresh.get("fresh"):
            assert cache.stats().remote.remote_hits == before + 2

    def test_get_may_have_django_s_arguments_only(self, caches):
        class Plain(TieredCache):
            def get(self, key, default=None, version=None):
                return ["own", super().get(key, default, version)]

        cache = caches.make(Plain)
        cache.set("a", 1)
        assert asyncio.run(cache.aget("a")) == ["own", 1]
        assert asyncio.run(cache.aget("missing", 2)) == ["own", 2]
        with pytest.raises(TypeError, match="fresh"):
            asyncio.run(cache.aget("a", fresh=True))

    def test_get_or_set_calls_add(self, caches):
        cache = caches.make(Noting)
        assert cache.get_or_set("new", 5) == 5
        assert "add" in cache.calls
        with mock.patch.object(caches.make(), "add", return_value=True) as add:
            caches.make().get_or_set("other", 1)
            assert not add.called  # another cache object
        cache = caches.make()
        with mock.patch.object(cache, "add", return_value=True) as add:
            cache.get_or_set("third", 1)
        assert add.call_count == 1


class TestCopies:
    def test_have_the_same_entries_and_attributes_of_their_own(self, caches):
        cache = caches.make(KEY_PREFIX="p")
        cache.set("key", [1])
        other = copy.copy(cache)
        assert other.get("key") == [1]
        other.version = 2
        other.set("key", 2)
        assert cache.get("key") == [1]
        assert caches.wire.command("GET", "p:2:key") == b"2"

    def test_by_pickle_and_deep_ones_are_refused(self, caches):
        for make in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError, match="cannot pickle 'TieredCache' object"):
                make(caches.make())

    def test_of_values_share_nothing(self, caches):
        cache = caches.make()
        cache.set("key", [[1]])
        for read in (
            cache.get,
            lambda key: cache.get_many([key])[key],
            lambda key: asyncio.run(cache.aget(key)),
        ):
            read("key")[0].append("spoiled")
            assert read("key") == [[1]]


class TestTraced:
    def test_is_the_same_cache(self, caches):
        cache = caches.make(traced.TieredCache)
        assert isinstance(cache, TieredCache)
        assert cache.set("a", 1) is None
        assert cache.set("a", 1, nx=True) is False
        assert cache.add("a", 2) is False
        assert cache.get("a", fresh=True) == caches.make().get("a") == 1
        assert cache.get("missing", "default") == "default"
        assert asyncio.run(cache.aget("a")) == 1
        assert asyncio.run(cache.aadd("b", 2)) is True
        assert cache.get_many(["a", "b"]) == ENTRIES
        assert cache.delete("a") is True

    def test_fresh_is_passed_on(self, caches):
        cache = caches.make(traced.TieredCache)
        cache.set("a", 1)
        cache.get("a")
        before = cache.stats().remote.remote_hits
        assert cache.get("a", fresh=True) == 1
        assert cache.stats().remote.remote_hits == before + 1

    @pytest.mark.parametrize("name", ["get", "set", "add", "delete", "incr", "alock", "keys"])
    def test_methods_are_functions_for_mock(self, caches, name):
        assert inspect.isfunction(getattr(traced.TieredCache, name))
        cache = caches.make(traced.TieredCache)
        with mock.patch.object(traced.TieredCache, name, autospec=True) as double, pytest.raises(TypeError):
            getattr(cache, name)(*"abcdefghijkl")
        assert inspect.isfunction(double)
