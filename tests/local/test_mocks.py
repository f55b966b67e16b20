"""`unittest.mock` works with our caches as with LocMemCache: autospecs bind `self` and check arguments."""

import asyncio
import inspect
from unittest import mock

import pytest
from django.core.cache.backends.locmem import LocMemCache

from nearcache.django import LocalCache, traced

PUBLIC = sorted(
    name
    for name in dir(LocMemCache)
    if not name.startswith("_") and inspect.isfunction(getattr(LocMemCache, name))
)
OURS = sorted(
    name
    for name in dir(LocalCache)
    if not name.startswith("_") and callable(getattr(LocalCache, name)) and name not in PUBLIC
)
# Methods of C's, which mock does not take for functions: see nearcache.django.traced.
ENGINE_S = {"get", "get_or_set", "set", "add", "delete"}
KINDS = {"LocMemCache": LocMemCache, "LocalCache": LocalCache, "traced": traced.LocalCache}
# A class of ours and the name of a method of it that is a function.
functions = pytest.mark.parametrize(
    ("kind", "name"),
    [
        *((LocalCache, name) for name in PUBLIC if name not in ENGINE_S),
        *((traced.LocalCache, name) for name in PUBLIC),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__module__,
)


def call(double, *arguments, **by_name):
    """Call a double, and await what it returns if it stands for a coroutine function."""
    result = double(*arguments, **by_name)
    return asyncio.run(result) if inspect.iscoroutine(result) else result


def checks_its_arguments(double, arguments):
    """Return how many calls with wrong arguments a double refuses."""
    call(double, *arguments)
    refused = 0
    for bad, by_name in (((), {}), ((*arguments, *"abcdefgh"), {}), (arguments, {"nonsense": 1})):
        try:
            call(double, *bad, **by_name)
        except TypeError:
            refused += 1
    return refused


def required(method):
    return [
        name
        for name, one in inspect.signature(method).parameters.items()
        if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD and name != "self"
    ]


def patched_on_the_class(kind, name):
    """Return what a test sees that patches a method of a class with ``autospec``."""
    cache = kind("mocks", {})
    arguments = required(getattr(kind, name))
    with mock.patch.object(kind, name, autospec=True) as double:
        refused = checks_its_arguments(getattr(cache, name), arguments)
        calls = [noted.args[0] is cache for noted in double.mock_calls if noted.args]
        is_function = inspect.isfunction(double)
    restored = getattr(kind, name) is not double
    return refused, set(calls), is_function, restored


def specified(kind, name, instance):
    """Return what a test sees that uses a double of a class."""
    double = mock.create_autospec(kind, instance=instance)
    arguments = required(getattr(kind, name))
    refused = checks_its_arguments(getattr(double, name), arguments)
    with pytest.raises(AttributeError):
        double.nonsense  # noqa: B018
    return refused


class TestBesideLocMemCache:
    @functions
    def test_patch_with_autospec(self, kind, name):
        assert patched_on_the_class(kind, name) == patched_on_the_class(LocMemCache, name)

    @functions
    @pytest.mark.parametrize("instance", [True, False], ids=["instance", "class"])
    def test_create_autospec(self, kind, name, instance):
        ours = specified(kind, name, instance)
        assert ours == specified(LocMemCache, name, instance)

    @pytest.mark.parametrize("name", PUBLIC)
    @pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
    def test_plain_patch_replaces_and_restores(self, kind, name):
        cache = kind("mocks", {})
        before = getattr(kind, name)
        with mock.patch.object(kind, name, return_value=5) as double:
            assert call(getattr(cache, name), "any", thing=1) == 5
            double.assert_called_once_with("any", thing=1)
        assert getattr(kind, name) is before


class TestOwnMethods:
    @pytest.mark.parametrize("name", OURS)
    @pytest.mark.parametrize("kind", [LocalCache, traced.LocalCache], ids=["plain", "traced"])
    def test_are_patched_as_functions(self, kind, name):
        refused, calls, is_function, restored = patched_on_the_class(kind, name)
        assert (refused, calls, is_function, restored) == (
            2 + bool(required(getattr(kind, name))),
            {True},
            True,
            True,
        )


class TestPlainClass:
    def test_only_these_methods_are_written_in_c(self):
        assert {
            name for name in (*PUBLIC, *OURS) if not inspect.isfunction(getattr(LocalCache, name))
        } == ENGINE_S
        assert all(inspect.isfunction(getattr(traced.LocalCache, name)) for name in (*PUBLIC, *OURS))
