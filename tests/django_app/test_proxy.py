"""`cache` and `caches` behave as Django's own in every use."""

import asyncio
import copy
import gc
import os
import pickle
import threading
import time
import weakref
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from unittest import mock

import django
import django.core.cache
import pytest
from asgiref import local
from asgiref.sync import async_to_sync, sync_to_async
from django.apps import apps
from django.conf import settings
from django.core import signals
from django.core.cache import CacheHandler, InvalidCacheBackendError
from django.core.cache.backends.locmem import LocMemCache
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings
from django.utils.connection import ConnectionProxy

from nearcache.django import LocalCache, cache, caches
from nearcache.django.proxy import find_place, speed_up_django
from support.isolated import isolated

LOCMEM = "django.core.cache.backends.locmem.LocMemCache"
SETTINGS = {
    "default": {"BACKEND": "nearcache.django.LocalCache", "LOCATION": "proxy"},
    "other": {"BACKEND": LOCMEM, "LOCATION": "proxy"},
}


@pytest.fixture(autouse=True)
def _settings():
    with override_settings(CACHES=SETTINGS):
        yield
        django.core.cache.caches["default"].clear()


def thread_of_its_own(work):
    """Return a thread that begins with an empty context, as threads do unless Python has no GIL."""
    return threading.Thread(target=lambda: Context().run(work))


@contextmanager
def older_asgiref():
    """Values kept in a dictionary that is not tied to a thread: asgiref before 3.13."""

    class Values:
        def __init__(self):
            self.__dict__["_data"] = ContextVar("test")

        def __getattr__(self, name):
            try:
                return self._data.get({})[name]
            except KeyError:
                raise AttributeError(name) from None

        def __setattr__(self, name, value):
            self._data.set({**self._data.get({}), name: value})

    class OlderLocal:
        def __init__(self):
            self.__dict__["_storage"] = Values()

        def __getattr__(self, name):
            return getattr(self._storage, name)

        def __setattr__(self, name, value):
            setattr(self._storage, name, value)

    with (
        mock.patch.object(local, "_CVar", Values),
        mock.patch.object(local, "_Storage", dict, create=True),
        mock.patch.object(django.core.cache.caches, "_connections", OlderLocal()),
    ):
        assert find_place(caches._connections) is not None
        yield


@contextmanager
def unknown_asgiref():
    """A `Local` of which nothing is known but that it has attributes."""
    with mock.patch.object(django.core.cache.caches, "_connections", threading.local()):
        assert find_place(caches._connections) is None
        yield


@contextmanager
def known_asgiref():
    assert find_place(caches._connections) is not None
    yield


@pytest.fixture(params=[known_asgiref, older_asgiref, unknown_asgiref])
def _layout(request):
    with request.param():
        yield


@pytest.mark.usefixtures("_layout")
class TestConnections:
    """In each layout of the storage."""

    def test_are_the_same_objects_as_djangos(self):
        for alias in SETTINGS:
            assert caches[alias] is django.core.cache.caches[alias]
            assert caches[alias] is caches[alias]
        assert type(caches["default"]) is LocalCache
        assert type(caches["other"]) is LocMemCache
        assert cache.set.__self__ is caches["default"]

    def test_first_access_through_django_s_caches(self):
        assert django.core.cache.caches["other"] is caches["other"]

    def test_each_thread_has_its_own(self):
        mine, seen = caches["default"], []
        pairs = lambda: seen.append((caches["default"], django.core.cache.caches["default"]))  # noqa: E731
        threads = [thread_of_its_own(pairs) for _ in range(3)]
        for thread in threads:
            thread.start()
            thread.join()
        assert all(ours is djangos for ours, djangos in seen)
        assert len({id(ours) for ours, _ in seen} | {id(mine)}) == 4

    def test_unknown_alias(self):
        with pytest.raises(InvalidCacheBackendError, match="The connection 'nope' doesn't exist"):
            caches["nope"]

    @pytest.mark.parametrize("alias", [1, None, ("default",)])
    def test_alias_that_is_no_string(self, alias):
        for handler in (caches, django.core.cache.caches):
            with pytest.raises((TypeError, InvalidCacheBackendError)):
                handler[alias]
        with pytest.raises(TypeError):
            caches[[]]

    def test_replaced_and_removed(self):
        stand_in = object()
        caches["default"]
        caches["default"] = stand_in
        assert caches["default"] is django.core.cache.caches["default"] is stand_in
        if not isinstance(caches._connections, local.Local):
            return
        del django.core.cache.caches["default"]
        assert type(caches["default"]) is LocalCache
        assert caches["default"] is django.core.cache.caches["default"]

    def test_overridden_settings(self):
        before = caches["default"]
        with override_settings(CACHES={"default": {"BACKEND": LOCMEM}}):
            assert type(caches["default"]) is LocMemCache
            assert caches["default"] is django.core.cache.caches["default"]
            assert list(caches) == ["default"]
            with pytest.raises(InvalidCacheBackendError):
                caches["other"]
        assert type(caches["default"]) is LocalCache
        assert caches["default"] is not before


class TestContexts:
    """What is whose, by threads and tasks together."""

    @staticmethod
    def same():
        ours = caches["default"]
        assert ours is django.core.cache.caches["default"]
        assert cache.get.__self__ is ours
        return ours

    def test_tasks(self):
        async def task():
            first = self.same()
            await asyncio.sleep(0)
            assert self.same() is first
            threaded = await sync_to_async(self.same)()
            assert threaded is await sync_to_async(self.same, thread_sensitive=False)() is first
            return first

        async def both():
            return await asyncio.gather(task(), task())

        one, other = asyncio.run(both())
        assert one is not other

    def test_a_task_inherits(self):
        async def parent():
            mine = self.same()
            return mine is await asyncio.create_task(child())

        async def child():
            return self.same()

        assert asyncio.run(parent())

    def test_async_to_sync(self):
        mine = self.same()

        async def inner():
            return self.same()

        assert async_to_sync(inner)() is mine

    def test_many_threads_and_settings(self):
        failures = []

        def work():
            try:
                for _ in range(300):
                    self.same()
            except AssertionError as error:
                failures.append(error)

        threads = [thread_of_its_own(work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures

    @pytest.mark.skipif(not hasattr(local, "_Storage"), reason="asgiref before 3.13")
    def test_values_of_another_thread_are_not_used(self):
        stored = vars(caches._connections._storage)["_data"]
        mine = self.same()
        foreign = local._Storage(threading.get_ident() + 1, {"default": "foreign"})
        token = stored.set(foreign)
        try:
            assert self.same() != "foreign"
        finally:
            stored.reset(token)
        assert self.same() is mine


class TestProxy:
    """Beside the connection: what Django's proxy is and does."""

    def test_has_the_type_of_djangos(self):
        assert isinstance(cache, ConnectionProxy)
        assert isinstance(caches, CacheHandler)

    def test_works(self):
        cache.set("key", [1])
        assert cache.get("key") == [1] == django.core.cache.cache.get("key")
        assert "key" in cache
        assert cache == caches["default"]
        assert cache != caches["other"]
        cache.close()

    def test_missing_attribute(self):
        with pytest.raises(AttributeError) as ours:
            _ = cache.nope
        with pytest.raises(AttributeError) as djangos:
            _ = django.core.cache.cache.nope
        assert str(ours.value) == str(djangos.value)
        assert not hasattr(cache, "_nope")
        with pytest.raises(AttributeError):
            del cache.nope

    def test_own_and_private_attributes(self):
        assert cache._alias == "default"
        assert cache._connections is django.core.cache.caches
        assert cache.__class__.__mro__[1] is ConnectionProxy
        caches["default"]._private = 1
        assert cache._private == 1

    def test_assignment_reaches_the_backend(self):
        cache.default_timeout = 7
        assert caches["default"].default_timeout == 7
        cache.mark = "x"
        assert caches["default"].mark == cache.mark == "x"
        del cache.mark
        assert not hasattr(caches["default"], "mark")

    def test_patches(self):
        with mock.patch.object(cache, "get", return_value="patched"):
            assert cache.get("key") == django.core.cache.cache.get("key") == "patched"
        assert cache.get("key") is None
        with mock.patch.object(LocalCache, "get", return_value="class"):
            assert cache.get("key") == "class"
        assert cache.get("key") is None

    def test_wrapped_methods(self):
        backend, calls = caches["default"], []
        original = backend.get
        backend.get = lambda *args, **kwargs: (calls.append(args), original(*args, **kwargs))[1]
        assert cache.get("key", default=5) == 5
        assert calls == [("key",)]

    def test_closed_at_the_end_of_a_request(self):
        with mock.patch.object(caches["default"], "close") as close:
            signals.request_finished.send(sender=None)
        close.assert_called_once()

    def test_copies_and_pickles_as_djangos(self):
        assert copy.copy(caches)["default"] is caches["default"]
        for proxy in (cache, django.core.cache.cache):
            with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
                pickle.dumps(proxy)
        assert "default" in repr(vars(cache))

    def test_attributes_set_directly(self):
        proxy = type(cache)(django.core.cache.caches, "other")
        assert proxy.get.__self__ is caches["other"]
        vars(proxy)["get"] = "own"
        assert proxy.get == "own"
        assert proxy.set.__self__ is caches["other"]

    def test_subclass_with_methods_of_its_own(self):
        class Proxy(type(cache)):
            kind = "class"

            def get(self, key):
                return "own", key

        proxy = Proxy(django.core.cache.caches, "default")
        assert proxy.get("key") == ("own", "key")
        assert proxy.kind == "class"
        assert proxy.set.__self__ is caches["default"]
        with pytest.raises(AttributeError, match="nope"):
            _ = proxy.nope

    def test_without_handler_and_alias(self):
        with pytest.raises(AttributeError):
            _ = type(cache).__new__(type(cache)).get

    def test_any_handler(self):
        proxy = type(cache)({"default": "a string"}, "default")
        assert proxy.upper() == "A STRING"

    def test_subclassed_handler(self):
        class Handler(type(caches)):
            def create_connection(self, alias):
                return f"made {alias}"

        handler = Handler({"default": {}, "second": {}})
        assert handler["second"] == "made second"
        assert handler["second"] is handler["second"]
        with pytest.raises(InvalidCacheBackendError):
            handler["third"]
        assert type(cache)(handler, "default").title() == "Made Default"

    def test_handlers_do_not_mix(self):
        handlers = [type(caches)(SETTINGS), CacheHandler(SETTINGS), caches]
        connections = [handler["default"] for _ in range(2) for handler in handlers]
        assert len({id(connection) for connection in connections}) == 3
        assert connections[:3] == connections[3:]


class Own(LocalCache):
    """A backend whose class tests may change."""

    def __del__(self):
        self.ended(self)

    @staticmethod
    def ended(_):
        pass


@pytest.fixture
def own():
    """The backend, and its class as it was afterwards."""
    before = dict(vars(Own))
    with override_settings(CACHES={"default": {"BACKEND": f"{__name__}.Own", "LOCATION": "own"}}):
        cache.set("key", 1)
        assert cache.get("key") == cache.get("key") == 1
        yield caches["default"]
        cache.clear()
        for name in vars(Own).keys() - before.keys():
            delattr(Own, name)


@pytest.mark.usefixtures("_layout")
class TestCachedMethods:
    """A thread keeps the methods it found last; that must never be seen."""

    def test_are_the_backends(self, own):
        for _ in range(3):
            assert cache.get == own.get
            assert cache.get.__self__ is own
            assert cache.get.__name__ == "get"
            assert type(cache.get) is type(own.get)

    def test_class_changed_and_changed_back(self, own):
        for answer in range(5):
            Own.get = lambda self, key, answer=answer: (self, key, answer)
            assert cache.get("key") == cache.get("key") == (own, "key", answer)
            del Own.get
            assert cache.get("key") == cache.get("key") == 1

    def test_base_changed(self, own, monkeypatch):
        monkeypatch.setattr(LocalCache, "get", lambda _, key: key, raising=False)
        assert cache.get("key") == "key"
        monkeypatch.undo()
        assert cache.get("key") == own.get("key") == 1

    def test_replaced_by_another_built_in_method(self, own):
        Own.get = Own.has_key
        assert cache.get("key") is cache.get("key") is own.get("key") is True
        Own.get = dict.get
        for _ in range(2):
            with pytest.raises(TypeError, match="'dict'"):
                _ = cache.get
        del Own.get
        assert cache.get("key") == 1

    def test_replaced_by_a_property(self, own):
        asked = []
        Own.get = property(lambda self: asked.append(self) or self.has_key)
        assert cache.get("key") is True
        assert cache.get("key") is True
        assert asked == [own, own]
        del Own.get
        assert cache.get("key") == 1

    def test_property_that_raises_is_read_once(self, own):
        asked = []

        def fail(self):
            asked.append(self)
            raise KeyError("failed")

        Own.get = property(fail)
        with pytest.raises(KeyError, match="failed"):
            _ = cache.get
        assert asked == [own]

    @pytest.mark.parametrize("special", ["__getattribute__", "__getattr__"])
    def test_class_with_its_own_getattribute(self, own, special):
        def answer(self, name):
            return "own way" if name == "get" else object.__getattribute__(self, name)

        setattr(Own, special, answer)
        expected = own.get
        assert cache.get == cache.get == expected
        assert (expected == "own way") == (special == "__getattribute__")
        delattr(Own, special)
        assert cache.get("key") == 1

    def test_patched_repeatedly(self, own):
        for answer in range(5):
            for target in (cache, own, Own):
                with mock.patch.object(target, "get", return_value=answer) as patched:
                    assert cache.get("key") == cache.get("key") == answer
                    assert patched.call_count == 2
                assert cache.get("key") == cache.get("key") == 1

    def test_written_into_the_instance(self, own):
        for answer in range(5):
            vars(own)["get"] = lambda _, answer=answer: answer
            assert cache.get("key") == cache.get("key") == answer
            del vars(own)["get"]
            assert cache.get("key") == cache.get("key") == 1
        own.__dict__ = {**vars(own), "get": "replaced"}
        assert cache.get == "replaced"

    def test_instance_of_another_class(self, own):
        class Other(LocalCache):
            def __del__(self):
                pass

        own.__class__ = Other
        assert cache.get("key") == cache.get("key") == 1
        Other.get = lambda _, key: key
        assert cache.get("key") == "key"
        own.__class__ = Own
        assert cache.get("key") == 1

    def test_class_changed_more_often_than_it_has_versions(self, own):
        for number in range(3000):
            Own.mark = number
            assert cache.get("key") == 1
        Own.get = lambda _, key: key
        assert cache.get("key") == "key"
        del Own.get
        assert cache.get("key") == 1
        assert cache.mark == own.mark == 2999

    def test_more_methods_than_are_cached(self, own):
        names = [name for name in dir(own) if not name.startswith("_")]
        assert len(names) > 30
        for _ in range(3):
            for name in names:
                assert getattr(cache, name) == getattr(own, name)

    def test_equal_names(self, own):
        class Name(str):
            __slots__ = ()

        for _ in range(20):
            assert getattr(cache, "".join(["g", "et"])) == own.get
            assert getattr(cache, Name("get")) == own.get
            assert cache.get == own.get

    def test_handler_and_alias_of_the_proxy_changed(self, own):
        proxy = type(cache)(django.core.cache.caches, "default")
        assert proxy.get.__self__ is own
        vars(proxy)["_alias"] = "none"
        with pytest.raises(InvalidCacheBackendError):
            _ = proxy.get
        vars(proxy)["_connections"] = {"none": "a string"}
        assert proxy.upper() == "A STRING"
        vars(proxy).clear()
        # In another order.
        vars(proxy).update(_alias="default", _connections=caches)
        assert proxy.get.__self__ is proxy.get.__self__ is own
        object.__setattr__(proxy, "_connections", {"default": "a string"})
        assert proxy.upper() == "A STRING"

    def test_missing_attribute_has_the_same_error(self, own):
        errors = []
        for proxy in (cache, cache, django.core.cache.cache):
            with pytest.raises(AttributeError) as raised:
                _ = proxy.nope
            errors.append(raised.value)
        assert len({(str(error), error.name) for error in errors}) == 1
        assert all(error.obj is own for error in errors)

    def test_backends_in_turn(self, own):
        own.set("key", "default")
        one, other = copy_context(), copy_context()
        backends = [context.run(self.another, number) for number, context in enumerate([one, other])]
        for _ in range(5):
            for number, context in enumerate([one, other]):
                assert context.run(lambda: cache.get.__self__) is backends[number]
                assert context.run(lambda: cache.get("key")) == number
            assert cache.get("key") == "default"

    @staticmethod
    def another(number):
        caches["default"] = backend = Own(f"another {number}", {})
        cache.set("key", number)
        return backend

    def test_only_the_last_backend_is_cached(self, own):
        seen = weakref.ref(copy_context().run(self.another, 1))
        assert cache.get.__self__ is own
        gc.collect()
        assert seen() is None

    def test_backend_that_uses_the_cache_when_destroyed(self, own):
        seen = []
        Own.ended = staticmethod(lambda _: seen.append((cache.get.__self__, cache.get("key"))))
        for number in range(1, 6):
            copy_context().run(self.another, number)
            assert cache.get("key") == 1
            gc.collect()
            assert seen == [(own, 1)] * number

    def test_ended_thread_keeps_no_backend(self, own):
        seen = []
        thread = thread_of_its_own(lambda: seen.append(weakref.ref(self.another(1))))
        thread.start()
        thread.join()
        # From Python 3.14 on a Thread keeps the context that it ran in, with what asgiref stored there.
        del thread
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            # What a thread kept is released by the next call in any thread.
            assert cache.get("key") == 1
            gc.collect()
            if seen[0]() is None:
                return
            time.sleep(0.01)
        pytest.fail("it is still there")

    def test_class_changed_under_threads(self, own):
        failures, go_on = [], True

        def work():
            try:
                while go_on:
                    assert cache.get("key") in (1, "changed")
                    assert cache.set.__self__ is caches["default"] is not own
            except Exception as error:
                failures.append(error)
                raise

        threads = [thread_of_its_own(work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(300):
            Own.get = lambda _, key: "changed"
            assert cache.get("key") == "changed"
            del Own.get
            assert cache.get("key") == 1
        go_on = False
        for thread in threads:
            thread.join()
        assert not failures

    def test_class_changed_back_is_not_cached(self, own):
        def get(_, key):
            return key

        seen = weakref.ref(get)
        Own.get = get
        assert cache.get("key") == "key"
        del Own.get, get
        gc.collect()
        assert seen() is None
        assert cache.get.__self__ is own


class TestFork:
    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
    @isolated
    def test_child_has_the_cached_methods(self):
        settings.configure(CACHES=SETTINGS)
        cache.set("key", 1)
        assert cache.get.__self__ is caches["default"]
        child = os.fork()
        if child == 0:
            with mock.patch.object(LocalCache, "delete", return_value="patched"):
                answers = cache.get("key"), cache.get.__self__ is caches["default"], cache.delete("key")
            os._exit(answers != (1, True, "patched"))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert cache.get("key") == 1


def start_project(**more):
    """Start Django as a project with such settings does."""
    settings.configure(CACHES=SETTINGS, INSTALLED_APPS=["nearcache.django"], **more)
    django.setup()


class TestOptIn:
    """``NEARCACHE_FAST_PROXY``: Django's own objects, made fast."""

    @isolated
    def test_djangos_objects_stay_and_are_fast(self):
        before, handler = django.core.cache.cache, django.core.cache.caches
        settings.configure(CACHES=SETTINGS)
        backend = handler["default"]
        speed_up_django()
        speed_up_django()
        assert django.core.cache.cache is before
        assert django.core.cache.caches is handler
        assert type(before) is type(cache)
        assert type(handler) is type(caches)
        assert isinstance(before, ConnectionProxy)
        assert isinstance(handler, CacheHandler)
        assert handler["default"] is backend is caches["default"]
        before.set("key", 1)
        assert cache.get("key") == before.get("key") == 1
        with override_settings(CACHES={"default": {"BACKEND": LOCMEM}}):
            assert type(handler["default"]) is LocMemCache
            assert cache.get("key") is None
        signals.request_finished.send(sender=None)

    @isolated
    def test_is_off_by_default(self):
        start_project()
        assert type(django.core.cache.cache) is ConnectionProxy
        assert type(django.core.cache.caches) is CacheHandler

    @isolated
    def test_by_the_setting(self):
        start_project(NEARCACHE_FAST_PROXY=True)
        assert type(django.core.cache.cache) is type(cache)
        assert type(django.core.cache.caches) is type(caches)
        django.core.cache.cache.set("key", 1)
        assert cache.get("key") == 1

    def test_bad_setting(self):
        said = "NEARCACHE_FAST_PROXY is 'yes'; expected True or False"
        with override_settings(NEARCACHE_FAST_PROXY="yes"), pytest.raises(ImproperlyConfigured, match=said):
            apps.get_app_config("nearcache").ready()
