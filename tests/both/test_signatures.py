"""Wrappers can bind a method's signature, apply its defaults and pass them on."""

import asyncio
import inspect
import time
import typing

import pytest
from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache

from nearcache.django import LocalCache, SharedCache, TieredCache, traced
from support.redis_servers.binaries import flavours

# Arguments for the parameters that have no default.
ARGUMENTS = {
    "key": "there",
    "value": 2,
    "keys": ["there", "missing"],
    "data": {"there": 2, "new": 3},
    "default": 2,
    "default_many": lambda keys: dict.fromkeys(keys, 2),
    "timeout": 60,
    "when": int(time.time()) + 3600,
    "search": "*",
    "pattern": "*",
}
METHODS = sorted(
    name for name in dir(LocalCache) if not name.startswith("_") and callable(getattr(LocalCache, name))
)
# Functions of C's: what they show as the default of a timeout cannot be DEFAULT_TIMEOUT.
ENGINE_S = {"get", "get_or_set", "set", "add", "delete"}
BACKENDS = [
    *(LocalCache, SharedCache, TieredCache),
    *(traced.LocalCache, traced.SharedCache, traced.TieredCache),
]


@pytest.fixture(params=BACKENDS, ids=lambda backend: f"{backend.__module__}.{backend.__name__}")
def kind(request):
    return request.param


@pytest.fixture
def filled(kind, shared_memory, monkeypatch, request):
    """Return a function that makes a cache with one key in it."""
    monkeypatch.setattr("nearcache.django.location.SHARED_MEMORY", shared_memory)
    location, options = "signatures", {"MAX_MEMORY": "1MB"}
    if issubclass(kind, TieredCache):
        if not flavours():
            pytest.skip("no Redis or Valkey server is installed")
        location = request.getfixturevalue("remote_server").url
        options["NEAR"] = None  # so that the statistics do not depend on when the server reports a write
    else:
        options["CLOCK"] = request.getfixturevalue("clock").path

    def make():
        cache = kind(location, {"TIMEOUT": 50, "KEY_PREFIX": "signatures", "OPTIONS": options})
        cache.clear()
        cache.reset_stats()
        cache.set("there", 1, version=1)
        cache.set("there", 1, version=2)
        return cache

    return make


def required(signature):
    empty = inspect.Parameter.empty
    return {
        name: ARGUMENTS[name]
        for name, parameter in signature.parameters.items()
        if parameter.default is empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD and name != "self"
    }


def outcome(result):
    """Return what a call gave, in a form that can be compared."""
    if inspect.isasyncgen(result):

        async def collect():
            return [item async for item in result]

        return asyncio.run(collect())
    if inspect.iscoroutine(result):
        result = asyncio.run(result)
    if isinstance(result, typing.Iterator):
        return list(result)
    if isinstance(result, (int, float)) and result > 1000:
        # Milliseconds that remain, or a time, by a clock that goes on.
        result = round(result / 1000)
    # Locks are compared by their settings, statistics by all but their age.
    return repr(result).partition(", age=")[0]


def content(cache):
    """Return the value of the key, and how long it lives, about: a server has a clock of its own."""
    seconds = cache.ttl("there")
    return cache.get("there"), seconds and round(seconds / 20)


def with_defaults(signature, arguments, *first):
    bound = signature.bind(*first, **arguments)
    bound.apply_defaults()
    return bound


class TestBoundSignature:
    @pytest.mark.parametrize("name", METHODS)
    def test_of_an_instance_s_method_does_the_same_with_its_defaults(self, filled, name):
        cache = filled()
        signature = inspect.signature(getattr(cache, name))
        arguments = required(signature)
        expected = outcome(getattr(cache, name)(**arguments)), content(cache)
        cache = filled()
        bound = with_defaults(signature, arguments)
        actual = outcome(getattr(cache, name)(*bound.args, **bound.kwargs)), content(cache)
        assert actual == expected

    @pytest.mark.parametrize("name", METHODS)
    def test_of_a_class_s_method_does_the_same_with_its_defaults(self, filled, kind, name):
        cache = filled()
        method = getattr(kind, name)
        signature = inspect.signature(method)
        arguments = required(signature)
        expected = outcome(getattr(cache, name)(**arguments)), content(cache)
        cache = filled()
        bound = with_defaults(signature, arguments, cache)
        actual = outcome(method(*bound.args, **bound.kwargs)), content(cache)
        assert actual == expected

    @pytest.mark.parametrize("name", ["set", "add", "touch", "aset", "aadd", "atouch"])
    @pytest.mark.parametrize("timeout", [..., DEFAULT_TIMEOUT], ids=["Ellipsis", "DEFAULT_TIMEOUT"])
    def test_default_timeout_is_the_cache_s(self, filled, name, timeout):
        cache = filled()
        if name.endswith("add"):
            cache.delete("there")
        value = [] if name.endswith("touch") else [2]
        outcome(getattr(cache, name)("there", *value, timeout))
        assert cache.ttl("there") == 50

    def test_own_get_backend_timeout_gets_django_s_default(self):
        seen = []

        class Noting(LocalCache):
            def get_backend_timeout(self, timeout=DEFAULT_TIMEOUT):
                seen.append(timeout)
                return super().get_backend_timeout(timeout)

        cache = Noting("signatures", {})
        cache.set("key", 1, ...)
        assert seen == [DEFAULT_TIMEOUT]
        cache.clear()


class TestShownDefault:
    @pytest.mark.parametrize("name", METHODS)
    def test_of_a_timeout_is_django_s(self, kind, name):
        parameter = inspect.signature(getattr(kind, name)).parameters.get("timeout")
        if parameter is None or "lock" in name or parameter.default is parameter.empty:
            return
        if name in ENGINE_S and kind.__module__ != "nearcache.django.traced":
            assert parameter.default is ...
        else:
            assert parameter.default is DEFAULT_TIMEOUT

    @pytest.mark.parametrize("name", [name for name in METHODS if hasattr(BaseCache, name)])
    def test_of_every_other_parameter_is_django_s(self, kind, name):
        django_s = inspect.signature(getattr(BaseCache, name)).parameters
        ours = inspect.signature(getattr(kind, name)).parameters
        for parameter in django_s.values():
            if parameter.name != "timeout":
                assert ours[parameter.name].default == parameter.default


class TestFunctions:
    """What tools read of a function."""

    @pytest.mark.parametrize("name", METHODS)
    def test_all_but_the_engine_s_have_a_module_and_type_hints(self, kind, name):
        method = getattr(kind, name)
        if name in ENGINE_S and kind.__module__ != "nearcache.django.traced":
            assert not inspect.isfunction(method)
            assert method.__objclass__.__module__ == "nearcache._core"
            return
        assert inspect.isfunction(method)
        assert method.__code__.co_name == name
        assert method.__module__.startswith(("nearcache.django.", "django.core.cache.backends.base"))
        if method.__module__.startswith("nearcache"):
            hints = typing.get_type_hints(method)
            assert set(hints) == {*inspect.signature(method).parameters, "return"} - {"self"}
