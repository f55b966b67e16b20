"""`copy.copy` makes another handle on the same store. Deep copies and pickles are refused."""

import copy
import gc
import pickle
import weakref

import pytest
from django.core.cache.backends.locmem import LocMemCache

from nearcache.django import traced


class TestCopy:
    @pytest.fixture
    def either(self, request, make_cache, make_locmem):
        """Return a cache of ours and one of Django's, made alike."""

        def make(**settings):
            return make_cache(**settings), make_locmem(**settings)

        return make

    def test_is_another_handle_on_the_same_store(self, either):
        for cache in either():
            cache.set("key", [1])
            other = copy.copy(cache)
            assert other is not cache
            assert type(other) is type(cache)
            assert other.get("key") == [1]
            other.set("key", 2)
            assert cache.get("key") == 2
            cache.clear()
            assert other.get("key") is None

    def test_has_the_settings_of_the_original(self, either):
        for cache in either(KEY_PREFIX="p", VERSION=3, TIMEOUT=77):
            other = copy.copy(cache)
            assert (other.key_prefix, other.version, other.default_timeout) == ("p", 3, 77)
            cache.set("key", 1)
            assert other.get("key") == 1

    @pytest.mark.parametrize(
        ("name", "value"), [("key_prefix", "other"), ("version", 9), ("key_func", lambda *_: "same")]
    )
    def test_assigning_to_it_leaves_the_original(self, either, name, value):
        for cache in either():
            cache.set("key", 1)
            other = copy.copy(cache)
            setattr(other, name, value)
            assert other.get("key") is None
            assert cache.get("key") == 1
            other.set("key", 2)
            assert (cache.get("key"), other.get("key")) == (1, 2)

    def test_assigning_to_the_original_leaves_it(self, either):
        for cache in either():
            cache.set("key", 1)
            other = copy.copy(cache)
            cache.version = 9
            assert (cache.get("key"), other.get("key")) == (None, 1)

    def test_shares_the_values_of_attributes(self, either):
        for cache in either():
            cache.notes = []
            other = copy.copy(cache)
            other.notes.append(1)
            assert cache.notes == [1]
            other.notes = None
            assert cache.notes == [1]

    def test_a_method_assigned_to_an_instance_is_copied(self, either):
        for cache in either():
            cache.set("key", 1)
            cache.get = lambda *args, **kwargs: "assigned"
            other = copy.copy(cache)
            assert other.get_many(["key"]) == {"key": "assigned"}
            del other.get
            assert other.get_many(["key"]) == {"key": 1}
            assert cache.get_many(["key"]) == {"key": "assigned"}

    def test_of_a_subclass_is_a_subclass_and_not_initialised_again(self, backend, make_cache, make_locmem):
        for base, make in ((backend, make_cache), (LocMemCache, make_locmem)):

            class Named(base):
                made = 0

                def __init__(self, name, params):
                    type(self).made += 1
                    super().__init__(name, params)
                    self.label = "mine"

                def get(self, key, default=None, version=None):
                    return f"{self.label} {super().get(key, default, version)}"

            cache = make(backend=Named)
            cache.set("key", 1)
            other = copy.copy(cache)
            assert type(other) is Named
            assert Named.made == 1
            other.label = "yours"
            assert (cache.get("key"), other.get_many(["key"])) == ("mine 1", {"key": "yours 1"})

    def test_includes_slots(self, make_cache, make_locmem, backend):
        for base, make in ((backend, make_cache), (LocMemCache, make_locmem)):

            class Slotted(base):
                __slots__ = ("label", "unset")

            cache = make(backend=Slotted)
            cache.label = "mine"
            other = copy.copy(cache)
            assert other.label == "mine"
            assert not hasattr(other, "unset")
            other.label = "yours"
            assert cache.label == "mine"

    def test_has_the_clock_of_the_original(self, backend, make_cache, clock):
        cache = make_cache(CLOCK=clock.path)
        other = copy.copy(cache)
        other.set("key", 1, 10)
        clock.advance(9)
        assert other.get("key") == 1
        clock.advance(2)
        assert (other.get("key"), cache.get("key")) == (None, None)

    @pytest.mark.local_only("a SharedCache is bounded by its file")
    def test_has_its_own_limits(self, make_cache):
        cache = make_cache(MAX_ENTRIES=100)
        other = copy.copy(cache)
        other._max_entries = 5
        cache.set_many(dict.fromkeys(range(50), 1))
        assert cache.stats().entries == 50
        other.set("one", 1)
        assert cache.stats().entries == 5

    def test_of_a_copy_works_without_the_original(self, make_cache):
        cache = make_cache()
        cache.set("key", 1)
        other = copy.copy(copy.copy(cache))
        reference = weakref.ref(other)
        assert other.get("key") == 1
        del other
        gc.collect()
        assert reference() is None
        assert cache.get("key") == 1

    def test_of_an_unopened_cache_is_an_error(self, backend):
        cache = backend.__new__(backend)
        with pytest.raises(RuntimeError, match="not open"):
            copy.copy(cache)

    def test_a_subclass_may_have_its_own(self, backend, make_cache):
        own = type("Own", (backend,), {"__copy__": lambda self: "own"})
        assert copy.copy(make_cache(backend=own)) == "own"

    @pytest.mark.parametrize("kind", [traced.LocalCache, traced.SharedCache])
    def test_of_a_traced_cache(self, kind, shared_memory, monkeypatch):
        monkeypatch.setattr("nearcache.django.location.SHARED_MEMORY", shared_memory)
        cache = kind("copying", {"OPTIONS": {"MAX_MEMORY": "1MB"}})
        cache.set("key", 1)
        assert copy.copy(cache).get("key") == 1


class TestDeepCopyAndPickle:
    @pytest.mark.parametrize("duplicate", [copy.deepcopy, *(range(pickle.HIGHEST_PROTOCOL + 1))], ids=str)
    def test_is_refused_as_by_locmem(self, cache, locmem, duplicate):
        make = duplicate if callable(duplicate) else lambda cache: pickle.dumps(cache, duplicate)
        with pytest.raises((TypeError, pickle.PicklingError), match="lock"):
            make(locmem)
        cache.set("key", "value")
        with pytest.raises(TypeError, match=rf"cannot pickle '{type(cache).__name__}' object: pass .* alias"):
            make(cache)
        assert cache.get("key") == "value"

    def test_of_a_container_of_a_cache_is_refused(self, cache):
        with pytest.raises(TypeError, match="cannot pickle"):
            copy.deepcopy({"cache": cache})

    def test_a_subclass_may_implement_it(self, backend, make_cache):
        class ByAlias(backend):
            def __reduce__(self):
                return str, ("found by alias",)

        cache = make_cache(backend=ByAlias)
        assert pickle.loads(pickle.dumps(cache)) == "found by alias"
        assert copy.deepcopy(cache) == "found by alias"
