"""LocalCache can be subclassed, wrapped, patched and inspected like any Django cache."""

import contextlib
import dataclasses
import functools
import gc
import inspect
import pickle
import weakref
from unittest import mock

import pytest
from django.core.cache import CacheHandler
from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.core.cache.backends.locmem import LocMemCache

from nearcache.django import LocalCache
from nearcache.django.single_flight.call import Options
from support.sample_values import nested

PUBLIC = sorted(name for name in dir(BaseCache) if not name.startswith("_"))


def spying(base):
    """Return a subclass that notes the calls of its basic methods."""

    class Spying(base):
        def __init__(self, name, params):
            self.calls = []
            super().__init__(name, params)

        def get(self, key, default=None, version=None):
            self.calls.append(("get", key, version))
            return super().get(key, default, version)

        def set(self, key, value, timeout=DEFAULT_TIMEOUT, version=None):
            self.calls.append(("set", key, value, timeout, version))
            return super().set(key, value, timeout, version)

        def add(self, key, value, timeout=DEFAULT_TIMEOUT, version=None):
            self.calls.append(("add", key, value, timeout, version))
            return super().add(key, value, timeout, version)

        def delete(self, key, version=None):
            self.calls.append(("delete", key, version))
            return super().delete(key, version)

        def incr(self, key, delta=1, version=None):
            self.calls.append(("incr", key, delta, version))
            return super().incr(key, delta, version)

        def has_key(self, key, version=None):
            self.calls.append(("has_key", key, version))
            return super().has_key(key, version)

        def touch(self, key, timeout=DEFAULT_TIMEOUT, version=None):
            self.calls.append(("touch", key, timeout, version))
            return super().touch(key, timeout, version)

    return Spying


SpyingCache = spying(LocalCache)
SpyingLocMem = spying(LocMemCache)

USES = {
    "get": lambda cache: cache.get("there"),
    "set": lambda cache: cache.set("new", 1),
    "add": lambda cache: cache.add("new", 1),
    "delete": lambda cache: cache.delete("there"),
    "touch": lambda cache: cache.touch("there"),
    "incr": lambda cache: cache.incr("there"),
    "decr": lambda cache: cache.decr("there"),
    "has_key": lambda cache: cache.has_key("there"),
    "in": lambda cache: "there" in cache,
    "get_many": lambda cache: cache.get_many(["there", "missing"]),
    "get_many of a version": lambda cache: cache.get_many(["there"], version=2),
    "set_many": lambda cache: cache.set_many({"new": 1, "there": 2}),
    "set_many with a timeout": lambda cache: cache.set_many({"new": 1}, 60, version=2),
    "delete_many": lambda cache: cache.delete_many(["there", "missing"]),
    "delete_many of a version": lambda cache: cache.delete_many(["there"], version=2),
    "get_or_set of a present key": lambda cache: cache.get_or_set("there", 2),
    "get_or_set of a missing key": lambda cache: cache.get_or_set("new", lambda: 2, 60),
    "incr_version": lambda cache: cache.incr_version("there"),
    "decr_version": lambda cache: cache.decr_version("there"),
    "clear": lambda cache: cache.clear(),
}
uses = pytest.mark.parametrize("use", USES.values(), ids=USES)

# The plain method that each asynchronous one of LocMemCache ends in.
ASYNC_USES = {
    "aget": lambda cache: cache.aget("there"),
    "aset": lambda cache: cache.aset("new", 1),
    "aadd": lambda cache: cache.aadd("new", 1),
    "adelete": lambda cache: cache.adelete("there"),
    "atouch": lambda cache: cache.atouch("there", 60),
    "aget_many": lambda cache: cache.aget_many(["there", "missing"]),
    "aset_many": lambda cache: cache.aset_many({"new": 1, "there": 2}, 60),
    "adelete_many": lambda cache: cache.adelete_many(["there", "missing"]),
    "aget_or_set": lambda cache: cache.aget_or_set("new", 2, 60),
    "aincr_version": lambda cache: cache.aincr_version("there"),
}


def run_now(coroutine):
    with pytest.raises(StopIteration) as stop:
        coroutine.send(None)
    return stop.value.value


# Arguments that Django's methods lack.
OURS = {"nx", "xx", "ignore_key_check", "fresh"} | {option.name for option in dataclasses.fields(Options)}


class TestOverriddenMethods:
    @uses
    def test_are_called_as_in_a_locmem_subclass(self, make_cache, make_locmem, use):
        calls = []
        for cache in (make_cache(backend=SpyingCache), make_locmem(backend=SpyingLocMem)):
            cache.set("there", 1)
            cache.calls.clear()
            result = use(cache)
            calls.append((cache.calls, result))
        assert calls[0] == calls[1]
        assert len(calls[0][0]) > 0 or use is USES["clear"]

    @pytest.mark.parametrize(
        ("use", "methods"),
        [
            (ASYNC_USES["aget"], ["get"]),
            (ASYNC_USES["aset"], ["set"]),
            (ASYNC_USES["aadd"], ["add"]),
            (ASYNC_USES["adelete"], ["delete"]),
            (ASYNC_USES["atouch"], ["touch"]),
            (ASYNC_USES["aget_many"], ["get", "get"]),
            (ASYNC_USES["aset_many"], ["set", "set"]),
            (ASYNC_USES["adelete_many"], ["delete", "delete"]),
            (ASYNC_USES["aget_or_set"], ["get", "add", "get"]),
            (ASYNC_USES["aincr_version"], ["get", "set", "delete"]),
        ],
        ids=ASYNC_USES,
    )
    def test_are_called_by_all_asynchronous_methods(self, make_cache, use, methods):
        cache = make_cache(backend=SpyingCache)
        cache.set("there", 1)
        cache.calls.clear()
        run_now(use(cache))
        assert [call[0] for call in cache.calls] == methods

    @pytest.mark.parametrize(
        "name", [name for name in PUBLIC if f"a{name}" in PUBLIC and name != "get_or_set"]
    )
    def test_are_called_by_their_asynchronous_variants(self, make_cache, name):
        """As Django does from 6.1 on, but in the same thread. (aget_or_set() can't: it may have to await.)"""
        calls = []

        def method(self, *args, **kwargs):
            calls.append(args)
            return "overridden"

        cache = make_cache(backend=type("Overriding", (LocalCache,), {name: method}))
        required = [
            one
            for one in inspect.signature(getattr(BaseCache({}), name)).parameters.values()
            if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD
        ]
        with mock.patch("django.core.cache.backends.base.sync_to_async", side_effect=AssertionError):
            run_now(getattr(cache, f"a{name}")(*(one.name for one in required)))
        assert len(calls) == 1

    def test_may_transform_values(self, make_cache):
        class Compressing(LocalCache):
            def get(self, key, default=None, version=None):
                value = super().get(key, None, version)
                return default if value is None else value[1:-1]

            def set(self, key, value, timeout=DEFAULT_TIMEOUT, version=None):
                super().set(key, f"<{value}>", timeout, version)

        cache = make_cache(backend=Compressing)
        cache.set_many({"a": "1", "b": "2"})
        assert cache.get_many("abc") == {"a": "1", "b": "2"}
        assert LocalCache.get(cache, "a") == "<1>"

    def test_may_raise(self, make_cache):
        class ReadOnly(LocalCache):
            def set(self, *args, **kwargs):
                raise PermissionError("read only")

        cache = make_cache(backend=ReadOnly)
        for write in (lambda: cache.set_many({"a": 1}), lambda: run_now(cache.aset_many({"a": 1}))):
            with pytest.raises(PermissionError, match="read only"):
                write()

    def test_set_many_of_an_overridden_set_returns_a_list_as_django_s(self, make_cache):
        assert make_cache(backend=SpyingCache).set_many({"a": 1}) == []

    def test_get_backend_timeout_is_used_by_every_write(self, make_cache, clock):
        seen = []

        class Halving(LocalCache):
            def get_backend_timeout(self, timeout=DEFAULT_TIMEOUT):
                seen.append(timeout)
                timeout = self.default_timeout if timeout is DEFAULT_TIMEOUT else timeout
                return None if timeout is None else clock.now + timeout / 2

        cache = make_cache(backend=Halving, CLOCK=clock.path, TIMEOUT=20)
        cache.set("set", 1, 20)
        cache.add("add", 1, 20)
        cache.set_many({"many": 1}, 20)
        cache.set("default", 1)
        cache.set("touch", 1, None)
        cache.touch("touch", 20)
        cache.set("never", 1, None)
        assert [DEFAULT_TIMEOUT if one is DEFAULT_TIMEOUT else one for one in seen] == [
            20,
            20,
            20,
            DEFAULT_TIMEOUT,
            None,
            20,
            None,
        ]
        keys = ["set", "add", "many", "default", "touch", "never"]
        clock.advance(9)
        assert len(cache.get_many(keys)) == 6
        clock.advance(1)
        assert cache.get_many(keys) == {"never": 1}

    def test_get_backend_timeout_may_call_django_s(self, make_cache, clock):
        class Longer(LocalCache):
            def get_backend_timeout(self, timeout=DEFAULT_TIMEOUT):
                return super().get_backend_timeout(timeout) + 5

        cache = make_cache(backend=Longer, CLOCK=clock.path, TIMEOUT=10)
        cache.set("key", 1)
        clock.advance(14)
        assert "key" in cache
        clock.advance(1)
        assert "key" not in cache

    @pytest.mark.parametrize(
        ("name", "replacement"),
        [
            ("make_key", lambda self, key, version=None: f"made-{key}"),
            ("make_and_validate_key", lambda self, key, version=None: f"made-{key}"),
        ],
    )
    def test_key_making_is_used_by_every_method(self, make_cache, name, replacement):
        cache = make_cache(backend=type("Made", (LocalCache,), {name: replacement}), KEY_PREFIX="p")
        cache.set_many({"a": 1}, version=5)
        assert cache.get("a") == 1
        assert cache.get_many(["a"], version=6) == {"a": 1}
        assert cache.incr("a", version=7) == 2
        assert cache.touch("a")
        assert not cache.add("a", 1)
        cache.delete_many(["a"])
        with pytest.raises(ValueError, match="Key 'made-a' not found"):
            cache.incr("a")

    def test_default_timeout_may_be_a_property(self, make_cache, make_locmem, clock):
        life = {"seconds": 10}
        seconds = property(lambda self: life["seconds"], lambda self, value: None)
        caches = [
            make_cache(backend=type("Mine", (LocalCache,), {"default_timeout": seconds}), CLOCK=clock.path),
            make_locmem(backend=type("Django", (LocMemCache,), {"default_timeout": seconds})),
        ]
        life["seconds"] = 20
        for cache in caches:
            cache.set("key", 1)
        clock.advance(15)
        assert ["key" in cache for cache in caches] == [True, True]

    def test_pickle_protocol_is_the_subclass_s(self, make_cache):
        protocols = []

        class Telling:
            def __reduce_ex__(self, protocol):
                protocols.append(protocol)
                return Telling, ()

        class Old(LocalCache):
            pickle_protocol = 2

        for backend in (Old, LocalCache):
            with contextlib.suppress(pickle.PicklingError, AttributeError):
                make_cache(backend=backend).set("key", Telling())
        live = make_cache()
        live.pickle_protocol = 3
        with contextlib.suppress(pickle.PicklingError, AttributeError):
            live.set("key", Telling())
        assert protocols == [2, pickle.HIGHEST_PROTOCOL, 3]

    def test_pickle_protocol_may_be_pickle_s_own_default(self, make_cache, make_locmem):
        for base, make in ((LocalCache, make_cache), (LocMemCache, make_locmem)):
            cache = make(backend=type("Default", (base,), {"pickle_protocol": None}))
            cache.set("key", {LocalCache})
            assert cache.get("key") == {LocalCache}


class TestOwnInit:
    def test_may_have_another_signature(self, cache):
        class Named(LocalCache):
            def __init__(self, *, size, **more):
                super().__init__(f"named-{id(self)}", {"OPTIONS": {"MAX_ENTRIES": size}})
                self.more = more

        named = Named(size=2, colour="red")
        named.set_many(dict.fromkeys("abc", 1))
        assert named.stats().entries == 2
        assert named.more == {"colour": "red"}
        named.clear()

    def test_may_set_attributes_before_and_after(self, make_cache):
        class Early(LocalCache):
            def __init__(self, name, params):
                self.early = True
                self.key_prefix = "lost, as with Django's"
                super().__init__(name, params)
                self.key_prefix = "late"

        cache = make_cache(backend=Early)
        assert cache.early
        assert cache.make_key("key") == "late:1:key"
        cache.set("key", 1)
        assert cache.get("key") == 1
        cache.key_prefix = ""
        assert cache.get("key") is None

    def test_without_super_raises_a_clear_error_at_the_first_use(self):
        class Forgetful(LocalCache):
            def __init__(self, name, params):
                pass

        cache = Forgetful("forgetful", {})
        every = [
            lambda: cache.get("key"),
            lambda: cache.set("key", 1),
            lambda: cache.add("key", 1),
            lambda: cache.touch("key"),
            lambda: cache.delete("key"),
            lambda: cache.incr("key"),
            lambda: cache.decr("key"),
            lambda: cache.has_key("key"),
            lambda: cache.get_many(["key"]),
            lambda: cache.set_many({"key": 1}),
            lambda: cache.delete_many(["key"]),
            lambda: cache.get_or_set("key", 1),
            cache.clear,
            cache.stats,
            lambda: run_now(cache.aget("key")),
        ]
        for use in every:
            with pytest.raises(RuntimeError, match=r"super\(\)\.__init__\(name, params\)"):
                use()

    def test_may_be_called_only_once(self, cache):
        with pytest.raises(RuntimeError, match="open already"):
            cache.__init__("other", {})

    def test_mixins_before_and_after_work(self, make_cache):
        class Counting:
            count = 0

            def get(self, *args, **kwargs):
                self.count += 1
                return super().get(*args, **kwargs)

        class Mixed(Counting, LocalCache):
            pass

        cache = make_cache(backend=Mixed)
        cache.get("a")
        cache.get_many(["a", "b"])
        assert cache.count == 3


class TestInstanceAttributes:
    """What django-debug-toolbar does: methods of one instance are replaced, and put back."""

    @staticmethod
    def wrap(cache, name, calls):
        original = getattr(cache, name)

        @functools.wraps(original)
        def wrapped(*args, **kwargs):
            calls.append((name, args))
            return original(*args, **kwargs)

        setattr(cache, name, wrapped)

    @pytest.mark.parametrize(
        ("use", "name", "count"),
        [
            (USES["get"], "get", 1),
            (USES["get_many"], "get", 2),
            (USES["get_or_set of a missing key"], "get", 2),
            (USES["incr_version"], "get", 1),
            (USES["set"], "set", 1),
            (USES["set_many"], "set", 2),
            (USES["incr_version"], "set", 1),
            (USES["add"], "add", 1),
            (USES["get_or_set of a missing key"], "add", 1),
            (USES["delete"], "delete", 1),
            (USES["delete_many"], "delete", 2),
            (USES["incr_version"], "delete", 1),
            (USES["decr"], "incr", 1),
            (USES["in"], "has_key", 1),
            (USES["get_many"], "get_many", 1),
            (USES["set_many"], "set_many", 1),
        ],
    )
    def test_wrapped_methods_are_used_until_deleted(self, make_cache, make_locmem, use, name, count):
        for cache in (make_cache(), make_locmem()):
            calls = []
            cache.set("there", 1)
            self.wrap(cache, name, calls)
            use(cache)
            assert len(calls) == count
            delattr(cache, name)
            cache.set("there", 1)
            use(cache)
            assert len(calls) == count

    def test_all_methods_may_be_wrapped_at_once(self, cache):
        calls = []
        names = ["get", "set", "add", "delete", "touch", "incr", "has_key", "get_many", "set_many", "clear"]
        for name in names:
            self.wrap(cache, name, calls)
        cache.set_many({"a": 1, "b": 2})
        assert cache.get_many("ab") == {"a": 1, "b": 2}
        assert cache.incr("a") == 2
        assert "a" in cache
        cache.clear()
        assert {name for name, _ in calls} == {
            "set_many",
            "set",
            "get_many",
            "get",
            "incr",
            "has_key",
            "clear",
        }

    def test_any_attribute_may_be_set_read_and_deleted(self, cache):
        cache.anything = [1]
        assert cache.anything == [1]
        assert vars(cache)["anything"] == [1]
        del cache.anything
        assert not hasattr(cache, "anything")

    @pytest.mark.parametrize(
        "name", ["_max_entries", "_cull_frequency", "default_timeout", "key_prefix", "version"]
    )
    def test_django_s_attributes_exist(self, cache, name):
        assert name in vars(cache)

    def test_other_instances_are_not_affected(self, make_cache):
        one, two = make_cache(), make_cache()
        one.get = lambda *args, **kwargs: "wrapped"
        assert one.get_many(["a"]) == {"a": "wrapped"}
        assert two.get_many(["a"]) == {}


class TestMockPatch:
    @pytest.mark.parametrize(
        ("name", "use"),
        [
            ("get", lambda cache: cache.get_many(["a"])),
            ("set", lambda cache: cache.set_many({"a": 1})),
            ("delete", lambda cache: cache.delete_many(["a"])),
            ("add", lambda cache: cache.get_or_set("a", 1)),
            ("make_key", lambda cache: cache.get("a")),
            ("validate_key", lambda cache: cache.get("a")),
            ("make_and_validate_key", lambda cache: cache.get("a")),
            ("get_backend_timeout", lambda cache: cache.set("a", 1)),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_of_an_instance_takes_effect_and_is_undone(self, make_cache, make_locmem, name, use):
        for cache in (make_cache(), make_locmem()):
            made = "key" if name.startswith("make") else None
            with mock.patch.object(cache, name, return_value=made) as patched:
                use(cache)
            assert patched.call_count == 1, type(cache)
            use(cache)
            assert patched.call_count == 1
            cache.set("after", 1)
            assert cache.get_many(["after"]) == {"after": 1}

    def test_of_the_class_affects_direct_calls_and_new_caches(self, make_cache):
        # A cache that is there already learns of a method it calls by itself only if that is assigned to it.
        before = make_cache()
        with mock.patch.object(type(before), "get", return_value=5) as patched:
            assert before.get("key") == 5
            assert before.get_many(["key"]) == {}
            assert make_cache().get_many(["key"]) == {"key": 5}
        assert patched.call_count == 2
        assert before.get("key") is None

    def test_of_an_attribute_takes_effect_and_is_undone(self, cache):
        cache.set("key", 1)
        with mock.patch.object(cache, "version", 2), mock.patch.object(cache, "key_prefix", "p"):
            assert cache.get("key") is None
            cache.set("key", 2)
        assert cache.get("key") == 1

    def test_with_autospec_works(self, cache):
        with mock.patch.object(cache, "get", autospec=True) as get:
            cache.get("key", default=5, version=2)
            get.assert_called_once_with("key", default=5, version=2)
        double = mock.create_autospec(cache, spec_set=True)
        double.get.return_value = 5
        assert double.get("key") == 5
        with pytest.raises(AttributeError):
            double.nonsense()

    def test_of_pickle_takes_effect_where_pickle_is_used(self, cache):
        too_deep = nested(200, lambda inner: [inner])
        with mock.patch("pickle.dumps", side_effect=ZeroDivisionError), pytest.raises(ZeroDivisionError):
            cache.set("key", too_deep)


class TestDjangoCompatibility:
    def test_is_a_django_cache(self, cache):
        assert isinstance(cache, BaseCache)
        assert isinstance(cache, LocalCache)

    def test_is_not_a_locmem_cache(self, cache):
        """Packages tell LocMemCache by its class or path, and treat it in ways of their own."""
        assert not isinstance(cache, LocMemCache)
        assert "locmem" not in f"{LocalCache.__module__}.{LocalCache.__qualname__}".lower()

    def test_is_found_by_its_path(self):
        params = {"BACKEND": "nearcache.django.LocalCache", "LOCATION": "found by path", "TIMEOUT": 5}
        found = CacheHandler({"default": params})["default"]
        assert type(found) is LocalCache
        assert found.default_timeout == 5

    @pytest.mark.parametrize("name", PUBLIC)
    def test_has_every_public_name_of_django_s_caches(self, cache, name):
        assert callable(getattr(cache, name))

    @pytest.mark.parametrize("name", PUBLIC)
    def test_methods_take_django_s_arguments(self, cache, name):
        def parameters(method):
            return [
                (one.name, one.kind, one.default is not one.empty, one.default if name == "get" else None)
                for one in inspect.signature(method).parameters.values()
                if one.name not in OURS
            ]

        assert parameters(getattr(cache, name)) == parameters(getattr(BaseCache({}), name))

    @pytest.mark.parametrize("name", sorted({*PUBLIC, "stats"}))
    def test_public_methods_have_docstrings(self, cache, name):
        if getattr(BaseCache, name, None) is not getattr(LocalCache, name):
            assert inspect.getdoc(getattr(cache, name))

    def test_wrong_arguments_are_refused(self, cache):
        for call in (
            cache.get,
            lambda: cache.get("a", 1, 2, 3),
            lambda: cache.get("a", nonsense=1),
            lambda: cache.set("a"),
            lambda: cache.clear(1),
            lambda: cache.get("a", key="b"),
        ):
            with pytest.raises(TypeError):
                call()

    def test_is_hashable_and_equal_to_itself_only(self, make_cache):
        one, two = make_cache(LOCATION="kinship"), make_cache(LOCATION="kinship")
        assert one == one  # noqa: PLR0124
        assert one != two
        assert len({one, two}) == 2

    def test_can_be_weakly_referenced_and_is_freed(self, make_locmem):
        cache = LocalCache("freed", {})
        cache.set("key", 1)
        reference = weakref.ref(cache)
        del cache
        gc.collect()
        assert reference() is None

    def test_is_freed_from_a_cycle(self):
        cache = LocalCache("freed", {})
        cache.get = functools.partial(LocalCache.get, cache)
        cache.me = cache
        reference = weakref.ref(cache)
        del cache
        gc.collect()
        assert reference() is None
