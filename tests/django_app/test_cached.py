"""`nearcache.django.cached`: calls, keys, methods, coroutine functions, and what it refuses."""

import asyncio
import functools
import inspect
import math
import pickle
import sys
import textwrap
import threading
import types
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from unittest import mock

import pytest
from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core.cache import CacheKeyWarning, InvalidCacheBackendError
from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.state import ModelState, ProjectState
from django.db.migrations.writer import MigrationWriter
from django.test import override_settings

from nearcache.django import LocalCache, cache, cached, caches
from nearcache.django.cached_functions import BoundCachedCoroutineFunction, BoundCachedFunction

LOCMEM = "django.core.cache.backends.locmem.LocMemCache"
SETTINGS = {
    "default": {"BACKEND": "nearcache.django.LocalCache", "LOCATION": "cached"},
    "other": {"BACKEND": "nearcache.django.LocalCache", "LOCATION": "cached-other", "TIMEOUT": 5},
    "locmem": {"BACKEND": LOCMEM},
}


@pytest.fixture(autouse=True)
def own_caches():
    """Let each test have empty caches, and record the calls of the functions below."""
    with override_settings(CACHES=SETTINGS):
        cache.clear()
        caches["other"].clear()
        calls.clear()
        yield


# The arguments with which the functions below computed.
calls = []


@cached
def bare(a, b=2):
    """Return both."""
    calls.append((a, b))
    return [a, b]


@cached(timeout=60, key="pair:{a}:{b}", version=3)
def pair(a: int, b: int = 2) -> list[int]:
    calls.append((a, b))
    return [a, b]


@cached
def every_kind(a, b, /, c, d=4, *args, e, f=6, **kwargs):
    calls.append((a, b, c, d, args, e, f, kwargs))
    return len(calls)


@cached
def fibonacci(n):
    calls.append(n)
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


@cached
def descend(path, depth):
    return descend(path, depth + 1)


@cached
async def coroutine(a, b=2):
    """Return both."""
    calls.append((a, b))
    await asyncio.sleep(0)
    return [a, b]


class Shop:
    """A class with every kind of method."""

    def __init__(self, number):
        self.number = number

    def __cache_key__(self):
        return self.number

    @cached
    def price(self, item, currency="EUR"):
        """Return a price."""
        calls.append((self.number, item, currency))
        return f"{self.number} {item} {currency}"

    @cached
    async def stock(self, item):
        calls.append((self.number, item))
        return f"{self.number} {item}"

    @cached
    @classmethod
    def cached_class(cls, item):
        calls.append((cls.__name__, item))
        return f"{cls.__name__} {item}"

    @classmethod
    @cached
    def class_cached(cls, item):
        calls.append((cls.__name__, item))
        return f"{cls.__name__} {item}"

    @cached
    @staticmethod
    def cached_static(item):
        calls.append(item)
        return f"static {item}"

    @staticmethod
    @cached
    def static_cached(item):
        calls.append(item)
        return f"static {item}"

    @cached
    @classmethod
    async def class_stock(cls, item):
        return f"{cls.__name__} {item}"


class Branch(Shop):
    pass


class TestCall:
    def test_computes_once_for_the_same_arguments(self):
        assert [bare(1), bare(a=1), bare(1, 2), bare(b=2, a=1)] == [[1, 2]] * 4
        assert bare(1, 3) == [1, 3]
        assert calls == [(1, 2), (1, 3)]

    def test_result_is_a_copy(self):
        bare(1).append("changed")
        assert bare(1) == [1, 2]

    def test_every_kind_of_parameter(self):
        assert every_kind(1, 2, 3, e=5) == every_kind(1, 2, c=3, d=4, e=5, f=6) == 1
        assert every_kind(1, 2, 3, 4, 7, 8, e=5, g=9) == 2
        assert every_kind(1, 2, 3, 4, (7, 8), e=5, g=9) == 3
        assert calls[0] == (1, 2, 3, 4, (), 5, 6, {})
        assert calls[1] == (1, 2, 3, 4, (7, 8), 5, 6, {"g": 9})

    @pytest.mark.parametrize(
        ("args", "kwargs", "message"),
        [
            ((1, 2), {}, r"^every_kind\(\) missing 1 required positional argument: 'c'"),
            ((1, 2, 3), {}, r"missing 1 required keyword-only argument: 'e'"),
        ],
    )
    def test_wrong_arguments(self, args, kwargs, message):
        with pytest.raises(TypeError, match=message):
            every_kind(*args, **kwargs)

    def test_unknown_argument(self):
        with pytest.raises(TypeError, match=r"bare\(\) got an unexpected keyword argument 'z'"):
            bare(1, z=1)

    def test_parameters_with_the_names_of_the_generated_code(self):
        @cached
        def function(_key, __cache, ___, key, call, len, function="x", _="y"):
            return [_key, __cache, ___, key, call, len, function, _]

        assert function(1, 2, 3, 4, 5, len=6) == [1, 2, 3, 4, 5, 6, "x", "y"]
        assert function.key(1, 2, 3, 4, 5, 6).endswith("(1,2,3,4,5,6,'x','y')")
        assert function.invalidate(1, 2, 3, 4, 5, 6) is True

    def test_default_is_the_object_itself(self):
        token = object()

        @cached(key="token")
        def function(a=token, *, b=token):
            return [a is token, b is token]

        assert function() == [True, True]

    def test_none_is_a_result(self):
        @cached
        def nothing(a):
            calls.append(a)

        assert nothing(1) is nothing(1) is None
        assert calls == [1]

    def test_error_is_passed_on_and_not_cached(self):
        @cached
        def fails(a):
            calls.append(a)
            raise LookupError(a)

        for _ in range(2):
            with pytest.raises(LookupError):
                fails(1)
        assert calls == [1, 1]

    def test_recursive(self):
        assert fibonacci(20) == 6765
        assert len(calls) == 21

    @pytest.mark.parametrize("spare", range(20))
    def test_recursion_without_end(self, spare):
        """Wherever the stack ends, in the function or in the code around it."""
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(limit + spare)
        try:
            with pytest.raises(RecursionError):
                descend(("a",), 0)
        finally:
            sys.setrecursionlimit(limit)

    def test_looks_like_the_function(self):
        assert (bare.__name__, bare.__qualname__, bare.__module__) == ("bare", "bare", __name__)
        assert bare.__doc__ == "Return both."
        assert str(inspect.signature(pair)) == "(a: int, b: int = 2) -> list[int]"
        assert str(inspect.signature(pair.key)) == "(a: int, b: int = 2) -> str"
        assert str(inspect.signature(every_kind)) == "(a, b, /, c, d=4, *args, e, f=6, **kwargs)"
        assert inspect.unwrap(bare) is bare.uncached is bare.__wrapped__
        assert not inspect.iscoroutinefunction(bare)
        assert repr(bare).startswith(f"<cached function {__name__}.bare at 0x")

    @pytest.mark.skipif(sys.version_info < (3, 14), reason="annotations are evaluated with the function")
    def test_annotations_are_not_evaluated(self):
        module = types.ModuleType("annotated")
        source = """
            from nearcache.django import cached

            class Place:
                @cached(key="{self}:{other}")
                def distance(self, other: Place, unit: Unit = "km") -> Length:
                    return f"5 {unit}"

                def __str__(self):
                    return "place"
        """
        exec(textwrap.dedent(source), vars(module))
        place = module.Place()
        assert place.distance(place) == "5 km"
        assert place.distance.key(place) == "place:place"
        module.Unit, module.Length = str, int
        assert inspect.signature(place.distance).return_annotation is int

    def test_pickle(self):
        assert pickle.loads(pickle.dumps(bare)) is bare

    def test_forms(self):
        def function():
            calls.append(1)
            return 1

        for decorate in (cached, cached(), cached(timeout=60)):
            decorated = decorate(function)
            decorated.invalidate()
            assert decorated() == decorated() == 1
        assert calls == [1, 1, 1]

    def test_two_caches(self):
        near = cached(cache="other")(bare)
        assert near(1) == [1, 2]
        assert near.key(1) == bare.key(1)
        assert caches["other"].get(near.key(1)) == cache.get(near.key(1)) == [1, 2]
        assert near.uncached is bare

    def test_wrapped_by_another_decorator(self):
        def twice(function):
            @functools.wraps(function)
            def wrapper(*args, **kwargs):
                return function(*args, **kwargs) * 2

            return wrapper

        @cached(key="wrapped:{a}")
        @twice
        def function(a, b="b"):
            return [a, b]

        assert function(1) == [1, "b", 1, "b"]
        assert function.key(a=5) == "wrapped:5"


class TestCache:
    """Which cache is used, and with which arguments."""

    def test_timeout_and_version(self):
        pair(1)
        assert cache.get("pair:1:2", version=3) == [1, 2]
        assert 59 <= cache.ttl("pair:1:2", version=3) <= 60

    def test_timeout_is_by_default_that_of_the_cache(self):
        function = cached(cache="other", key="k")(lambda: 1)
        function()
        assert 4 <= caches["other"].ttl("k") <= 5

    def test_no_timeout(self):
        function = cached(timeout=None, key="k")(lambda: 1)
        function()
        assert cache.ttl("k") is None

    def test_overridden_settings(self):
        bare(1)
        moved = {"BACKEND": "nearcache.django.LocalCache", "LOCATION": "cached-moved"}
        with override_settings(CACHES={"default": moved}):
            bare(1)
            cache.clear()
        bare(1)
        assert len(calls) == 2

    @pytest.mark.skipif(sys.platform != "linux", reason="SharedCache is for Linux")
    def test_shared_cache(self, tmp_path):
        shared = {
            "BACKEND": "nearcache.django.SharedCache",
            "LOCATION": str(tmp_path / "cached"),
            "OPTIONS": {"MAX_MEMORY": "2MB"},
        }
        with override_settings(CACHES={"default": shared}):
            assert bare(1) == bare(1) == [1, 2]
            assert asyncio.run(coroutine(1)) == asyncio.run(coroutine(1)) == [1, 2]
            assert len(calls) == 2
            assert bare.invalidate(1) is True

    @pytest.mark.parametrize("method", ["__call__", "invalidate", "refresh"])
    def test_another_backend(self, method):
        function = cached(cache="locmem", key="k")(lambda: 1)
        message = (
            rf"nearcache: @cached uses CACHES\['locmem'\], whose BACKEND is {LOCMEM}; "
            r"expected nearcache.django.LocalCache, SharedCache or TieredCache"
        )
        with pytest.raises(ImproperlyConfigured, match=message):
            getattr(function, method)()
        assert function.key() == "k"

    def test_unknown_alias(self):
        function = cached(cache="nowhere", key="k")(lambda: 1)
        with pytest.raises(InvalidCacheBackendError):
            function()

    def test_no_options_by_default(self):
        with mock.patch.object(LocalCache, "get_or_set", return_value="found") as get_or_set:
            assert bare(1) == "found"
        get_or_set.assert_called_once_with(bare.key(1), mock.ANY, DEFAULT_TIMEOUT, None)

    def test_none_is_the_default_of_an_option(self):
        names = ("stale", "refresh", "early", "jitter", "lock_timeout", "store_if", "distributed")
        function = cached(key="none:{a}", **dict.fromkeys(names))(lambda a: a)
        with mock.patch.object(LocalCache, "get_or_set", return_value=0) as get_or_set:
            function(5)
        get_or_set.assert_called_once_with("none:5", mock.ANY, DEFAULT_TIMEOUT, None)

    def test_options_that_were_given(self):
        options = {"stale": 5, "refresh": "background", "jitter": 0, "store_if": bool}
        function = cached(timeout=60, version=2, key="k:{a}", **options)(lambda a: [a])
        with mock.patch.object(LocalCache, "get_or_set", return_value="found") as get_or_set:
            assert function(1) == "found"
        get_or_set.assert_called_once_with("k:1", mock.ANY, 60, 2, **options)
        assert get_or_set.call_args[0][1]() == [1]


class TestSingleFlight:
    """A cached function has what `get_or_set` has."""

    def test_threads(self):
        threads = 8
        barrier, is_computing = threading.Barrier(threads), threading.Event()

        @cached(key="threads")
        def function():
            calls.append(1)
            is_computing.wait(0.2)
            return [1]

        def work():
            barrier.wait()
            return function()

        with ThreadPoolExecutor(threads) as pool:
            results = [one.result() for one in [pool.submit(work) for _ in range(threads)]]
        assert results == [[1]] * threads
        assert calls == [1]

    def test_tasks(self):
        async def use():
            return await asyncio.gather(*[coroutine(1) for _ in range(100)])

        assert asyncio.run(use()) == [[1, 2]] * 100
        assert calls == [(1, 2)]

    def test_stale_value_if_computing_fails(self, clock):
        answers = [1]
        function = cached(timeout=10, stale=60, key="stale")(lambda: answers.pop(0))
        timed = {"BACKEND": "nearcache.django.LocalCache", "LOCATION": "cached-clock"}
        with override_settings(CACHES={"default": {**timed, "OPTIONS": {"CLOCK": clock.path}}}):
            assert function() == 1
            clock.advance(11)
            assert function() == 1
            answers.append(2)
            assert function() == 2
            clock.advance(71)
            with pytest.raises(IndexError):
                function()


class TestManagement:
    """`key`, `invalidate`, `refresh` and `uncached`."""

    def test_invalidate(self):
        pair(1)
        pair(2)
        assert pair.invalidate(b=2, a=1) is True
        assert pair.invalidate(1) is False
        pair(1)
        pair(2)
        assert calls == [(1, 2), (2, 2), (1, 2)]

    def test_refresh(self):
        bare(1)
        assert bare.refresh(1) == bare.refresh(a=1) == [1, 2]
        assert bare(1) == [1, 2]
        assert len(calls) == 3

    def test_refresh_stores(self):
        pair.refresh(1)
        assert cache.get(pair.key(1), version=3) == [1, 2]
        assert 59 <= cache.ttl(pair.key(1), version=3) <= 60

    def test_refresh_that_fails_keeps_the_result(self):
        answers = [1]
        function = cached(key="k")(lambda: answers.pop(0))
        assert function() == 1
        with pytest.raises(IndexError):
            function.refresh()
        assert function() == 1

    def test_uncached(self):
        assert bare.uncached(1) == [1, 2]
        assert cache.get(bare.key(1)) is None

    def test_names(self):
        assert [bare.key.__name__, bare.invalidate.__qualname__] == ["key", "bare.invalidate"]
        with pytest.raises(TypeError, match=r"bare.key\(\) missing 1 required"):
            bare.key()


class TestMigration:
    """A cached function as the default, or the choices, of a model's field."""

    @staticmethod
    def changes(in_migration, in_model):
        """Return the changes from a field in a migration to that in the model."""
        before, after = ProjectState(), ProjectState()
        before.add_model(ModelState("app", "Thing", [("field", in_migration)]))
        after.add_model(ModelState("app", "Thing", [("field", in_model)]))
        return MigrationAutodetector(before, after)._detect_changes()

    @pytest.mark.parametrize("option", ["default", "choices"])
    @pytest.mark.parametrize(
        ("function", "name"),
        [(bare, "bare"), (pair, "pair"), (coroutine, "coroutine"), (Shop.cached_class, "Shop.cached_class")],
    )
    def test_names_the_function(self, option, function, name):
        field = models.IntegerField(**{option: function})
        text, imports = MigrationWriter.serialize(field)
        assert text == f"models.IntegerField({option}=copy.copy({__name__}.{name}))"
        space = {"models": models}
        exec("\n".join(imports), space)
        in_migration = eval(text, space)
        assert in_migration.deconstruct()[3] == {option: function}
        assert self.changes(in_migration, field) == {}

    def test_of_a_function_in_a_function_is_refused(self):
        def function():
            return 1

        with pytest.raises(ValueError, match="Could not find function"):
            MigrationWriter.serialize(cached(function))


class TestTemplate:
    @pytest.mark.parametrize(
        "template",
        [
            *("a", "{a}", "x:{a}:{b}", "{a}{b}{a}", "{{{a}}}", "{a!r}", "{a!s}", "{b!a}"),
            *("{c.name}", "{c.list[0]}", "{c.dict[key]}", "{c.dict[a.b]}", "{d[1].name}", "{c.dict[0x]}"),
            *("{e:03d}", "{e:0>{width}}", "{b!r:*^{width}}", "{e:0{width}.{e}f}", 'it\'s:"{a}"', "\\n{a}"),
        ],
    )
    def test_is_what_format_makes_of_the_arguments(self, template):
        inner = SimpleNamespace(name="n", list=[7], dict={"key": 8, "a.b": 9, "0x": 10})
        arguments = {"a": 1, "b": "b", "c": inner, "d": [0, inner], "e": 3, "width": 6}

        @cached(key=template)
        def function(a, b, c, *, d, e, width):
            return None

        assert function.key(1, "b", inner, d=[0, inner], e=3, width=6) == template.format(**arguments)

    def test_defaults_and_more_arguments(self):
        @cached(key="{a}:{args[0]}:{kwargs[x]}")
        def function(a=5, *args, **kwargs):
            return None

        assert function.key(1, 2, x=3) == "1:2:3"

    def test_is_not_typed(self):
        assert pair.key(1) == pair.key("1") == "pair:1:2"

    @pytest.mark.parametrize("template", ["{z}", "{z.pk}", "{}", "{0}", "{a:{z}}", "{a b}", "{.a}"])
    def test_unknown_argument(self, template):
        message = r"key is '.*', but .*function has no argument '.*'; its arguments are: a, b"
        with pytest.raises(TypeError, match=message):

            @cached(key=template)
            def function(a, b):
                return None

    @pytest.mark.parametrize(
        ("template", "message"),
        [
            ("{a", "key is '{a': expected '}' before end of string; expected a format string"),
            ("a}", "key is 'a}': Single '}' encountered in format string"),
            ("{a!x}", "key is '{a!x}': !x is unknown; expected !r, !s or !a"),
        ],
    )
    def test_no_format_string(self, template, message):
        with pytest.raises(ValueError, match=message):
            cached(key=template)(lambda a: None)


class TestLongKeys:
    """Keys that memcached would refuse are hashed."""

    @staticmethod
    def key(text):
        function = cached(key="k:{a}")(lambda a: a)
        with warnings.catch_warnings():
            warnings.simplefilter("error", CacheKeyWarning)
            assert function(text) == function(text) == text
        return function.key(text)

    @pytest.mark.parametrize("text", ["a b", "a\n", "\x7f", "é", "\ud800", "x" * 199, "x" * 10_000])
    def test_hashed(self, text):
        key = self.key(text)
        assert key.startswith("k:")
        assert key[-41] == "#"
        assert int(key[-40:], 16)
        assert key != self.key(text + "x")

    @pytest.mark.parametrize("text", ["", "x" * 198, "!~#{}", "x#y", "#" * 40])
    def test_as_it_is(self, text):
        assert self.key(text) == f"k:{text}"

    def test_no_argument_makes_the_hashed_key_of_another(self):
        hashed = self.key("a b")
        assert self.key(hashed.removeprefix("k:")) != hashed

    def test_of_encoded_arguments(self):
        assert bare.key("x" * 300).startswith("django_app.test_cached:bare('xxx")
        assert len({bare.key("x" * 300), bare.key("x" * 301), bare.key("a b"), bare.key("a  b")}) == 4
        with warnings.catch_warnings():
            warnings.simplefilter("error", CacheKeyWarning)
            assert bare("x" * 300, "a\n\x7fé ") == ["x" * 300, "a\n\x7fé "]


class TestMethods:
    def test_of_objects(self):
        one, other = Shop(1), Shop(2)
        assert [one.price("a"), other.price("a"), Shop(1).price("a")] == ["1 a EUR", "2 a EUR", "1 a EUR"]
        assert calls == [(1, "a", "EUR"), (2, "a", "EUR")]
        assert Shop.price(one, "a") == "1 a EUR"
        assert (
            one.price.key("a")
            == "django_app.test_cached:Shop.price(django_app.test_cached:Shop(1),'a','EUR')"
        )
        assert Shop.price.key(one, "a") == one.price.key("a")
        assert one.price.invalidate("a", currency="EUR") is True
        assert one.price.invalidate("a") is False
        assert other.price.invalidate("a") is True
        assert one.price.refresh("b") == one.price("b") == "1 b EUR"
        assert one.price.uncached("c") == "1 c EUR"
        assert calls[2:] == [(1, "b", "EUR"), (1, "c", "EUR")]

    def test_of_a_subclass(self):
        assert Branch(1).price("a") == "1 a EUR"
        assert Branch(1).price.key("a") != Shop(1).price.key("a")

    @pytest.mark.parametrize("name", ["cached_class", "class_cached"])
    def test_of_classes(self, name):
        assert [getattr(Shop, name)("a"), getattr(Branch(1), name)("a")] == ["Shop a", "Branch a"]
        assert [getattr(Shop(2), name)("a"), getattr(Branch, name)("a")] == ["Shop a", "Branch a"]
        assert calls == [("Shop", "a"), ("Branch", "a")]

    def test_key_of_a_classmethod(self):
        assert (
            Shop.cached_class.key("a")
            == "django_app.test_cached:Shop.cached_class(class(django_app.test_cached:Shop),'a')"
        )
        assert Branch(1).cached_class.key("a") == Branch.cached_class.key("a") != Shop.cached_class.key("a")
        assert Shop.cached_class.invalidate("a") is False
        Shop.cached_class("a")
        assert Shop.cached_class.invalidate("a") is True
        assert Shop.cached_class.uncached("b") == "Shop b"

    @pytest.mark.parametrize("name", ["cached_static", "static_cached"])
    def test_static(self, name):
        method = getattr(Shop, name)
        assert method("a") == getattr(Shop(1), name)("a") == "static a"
        assert calls == ["a"]
        assert method.key("a") == f"django_app.test_cached:Shop.{name}('a')"
        assert getattr(Shop(1), name).invalidate("a") is True

    def test_looks_like_a_method(self):
        shop = Shop(1)
        assert str(inspect.signature(shop.price)) == "(item, currency='EUR')"
        assert str(inspect.signature(shop.price.key)) == "(item, currency='EUR') -> str"
        assert (shop.price.__name__, shop.price.__self__) == ("price", shop)
        for method in (shop.price, shop.stock, Shop.cached_class):
            assert method.__doc__ == method.uncached.__doc__
            assert method.__module__ == __name__
        assert inspect.getdoc(shop.price) == "Return a price."
        assert isinstance(shop.price, BoundCachedFunction)
        assert isinstance(shop.stock, BoundCachedCoroutineFunction)
        assert shop.price.__func__ is Shop.price is vars(Shop)["price"]
        assert shop.price == shop.price != Shop(1).price
        assert hash(shop.price) == hash(shop.price)
        assert shop.price != "price"
        assert "Shop.price" in repr(shop.price)
        weak = weakref.WeakMethod(shop.price)
        assert weak()("a") == "1 a EUR"
        assert weak().key("a") == shop.price.key("a")

    def test_pickle(self):
        assert pickle.loads(pickle.dumps(Shop(1).price))("a") == "1 a EUR"

    def test_attribute_that_is_missing(self):
        with pytest.raises(AttributeError, match="nonsense"):
            Shop(1).price.nonsense  # noqa: B018

    def test_self_without_an_encoding(self):
        message = (
            "cannot make a key of the argument 'self' of django_app.test_cached.Plain.method: it is or "
            "contains an object of the class django_app.test_cached.Plain, which has no encoding. Define"
        )
        with pytest.raises(TypeError, match=message):
            Plain().method()

    def test_self_in_a_template(self):
        assert Plain().by_template() == "by template"
        assert Plain().by_template.key() == "plain:7"


class Plain:
    """A class without ``__cache_key__``."""

    pk = 7

    @cached
    def method(self):
        return "method"

    @cached(key="plain:{self.pk}")
    def by_template(self):
        return "by template"


class TestCoroutines:
    def test_are_coroutine_functions(self):
        for function in (coroutine, Shop(1).stock, Shop.class_stock):
            assert inspect.iscoroutinefunction(function)
            assert iscoroutinefunction(function)
            assert inspect.iscoroutinefunction(function.invalidate)
            assert inspect.iscoroutinefunction(function.refresh)
            assert not inspect.iscoroutinefunction(function.key)
        assert coroutine.__doc__ == "Return both."

    def test_functions(self):
        async def use():
            assert await coroutine(1) == await coroutine(a=1, b=2) == [1, 2]
            assert calls == [(1, 2)]
            assert cache.get(coroutine.key(1)) == [1, 2]
            assert await coroutine.invalidate(1) is True
            assert await coroutine.invalidate(1) is False
            assert await coroutine.uncached(1) == [1, 2]
            assert cache.get(coroutine.key(1)) is None

        asyncio.run(use())

    def test_refresh(self):
        async def use():
            assert await coroutine(1) == await coroutine.refresh(1) == [1, 2]
            assert await coroutine(1) == [1, 2]
            assert len(calls) == 2

        asyncio.run(use())

    def test_methods(self):
        async def use():
            shop = Shop(1)
            assert await shop.stock("a") == await Shop.stock(shop, "a") == "1 a"
            assert calls == [(1, "a")]
            assert await shop.stock.invalidate("a") is True
            assert await shop.stock.refresh("a") == "1 a"
            assert await Branch.class_stock("a") == "Branch a"

        asyncio.run(use())

    def test_key_error_is_raised_by_await(self):
        waiting = coroutine(object())
        with pytest.raises(TypeError, match=r"argument 'a' of .*\.coroutine: it"):
            asyncio.run(waiting)

    def test_marked(self):
        async def inner(a):
            return [a]

        @cached(key="marked:{a}")
        @markcoroutinefunction
        def function(a):
            return inner(a)

        assert iscoroutinefunction(function)
        assert asyncio.run(function(1)) == [1]

    def test_options_that_were_given(self):
        function = cached(timeout=60, key="k", stale=5)(coroutine.uncached)
        with mock.patch.object(LocalCache, "aget_or_set", mock.AsyncMock(return_value="found")) as get_or_set:
            assert asyncio.run(function(1)) == "found"
        get_or_set.assert_awaited_once_with("k", mock.ANY, 60, None, stale=5)


def generator():
    yield 1


async def asynchronous_generator():
    yield 1


def with_variables(number):
    def function(a):
        return a * number

    return function


class TestRefused:
    """What raises when the function is decorated."""

    @pytest.mark.parametrize(
        ("function", "message"),
        [
            (
                generator,
                "test_cached.generator is a generator function, whose result can be read only once",
            ),
            (asynchronous_generator, "asynchronous_generator is a generator function"),
            (Shop, "django_app.test_cached.Shop is a class; expected a function or method"),
            (staticmethod(generator), "is a generator function"),
            (60, r"60 \(int\) is not a function; options need their names, as in @cached\(timeout=60\)"),
            (property(len), r"\(property\) is not a function"),
            (lambda a: a, "several functions may have the name django_app.test_cached.TestRefused.<lambda>"),
            (with_variables(5), "or uses variables of the function around it; give @cached a key"),
            (functools.partial(len), "has no name to make keys of; give @cached a key"),
            (
                Shop(1).__cache_key__,
                "Shop.__cache_key__ is bound to an object, which its keys would not show",
            ),
            (Shop(1).price, "Shop.price is bound to an object"),
            (Shop.class_cached, "Shop.class_cached is bound to an object"),
            (functools.wraps(Shop(1).__cache_key__)(lambda: 1), "Shop.__cache_key__ is bound to an object"),
        ],
    )
    def test_functions(self, function, message):
        with pytest.raises(TypeError, match=message):
            cached(function)

    def test_functions_without_a_name_of_their_own_by_a_template(self):
        assert cached(key="t:{a}")(with_variables(5))(2) == 10
        assert cached(key="p:{a}")(functools.partial(with_variables(3)))(1) == 3
        assert cached(key="b:{item}")(Shop(1).price)("tea") == "1 tea EUR"

    def test_function_in_c(self):
        assert cached(math.sqrt)(4) == 2
        assert cached(math.sqrt).key(4) == "math:sqrt(4)"

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"timeout": "60"}, TypeError, r"timeout is '60' \(str\); expected a number of seconds, or None"),
            ({"timeout": True}, TypeError, "timeout is True"),
            ({"key": 5}, TypeError, r"key is 5 \(int\); expected a format string, or None"),
            ({"cache": None}, TypeError, r"cache is None \(NoneType\); expected an alias in CACHES"),
            ({"stal": 5}, TypeError, "stal"),
            ({"stale": -1}, ValueError, "stale is -1"),
            ({"stale": "1"}, TypeError, "stale is '1'"),
            ({"refresh": "thread"}, ValueError, "refresh is 'thread'"),
            ({"early": -1}, ValueError, "early is -1"),
            ({"early": float("nan")}, ValueError, "early is nan"),
            ({"jitter": 1}, ValueError, "jitter is 1"),
            ({"store_if": 5}, TypeError, "store_if is 5"),
            ({"distributed": 1}, TypeError, "distributed is 1"),
        ],
    )
    def test_options(self, options, error, message):
        with pytest.raises(error, match=message):
            cached(**options)
