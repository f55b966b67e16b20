"""What kind of object it is, and which methods it has."""

import copy
import inspect

import pytest

from nearcache.django import TieredCache, traced
from nearcache.django.backend import Backend
from nearcache.django.remote_alias.methods import AliasMethods
from nearcache.django.tiered import AliasTieredCache

# Methods that call others, and no methods.
INHERITED = {
    "get_or_set",
    "aget_or_set",
    "get_or_set_many",
    "aget_or_set_many",
    "validate_key",
    "make_and_validate_key",
    "key_func",
}
INHERITED |= {"get_backend_timeout", "stats", "astats", "reset_stats", "areset_stats"}
INHERITED |= {"reverse_key_func", "pickle_protocol"}
PUBLIC = [name for name in dir(TieredCache) if not name.startswith("_") and name not in INHERITED]


class Subclass(TieredCache):
    """Somebody's own."""

    def get(self, key, default=None, version=None, *, fresh=False):
        return "own", super().get(key, default, version, fresh=fresh)


class TestObject:
    def test_is_a_tiered_cache(self, configure):
        cache, _ = configure()
        assert type(cache) is AliasTieredCache
        assert isinstance(cache, TieredCache)
        assert isinstance(cache, Backend)

    @pytest.mark.parametrize("name", PUBLIC)
    def test_defines_a_method_of_the_api(self, name):
        ours, api = getattr(AliasMethods, name), getattr(TieredCache, name)
        assert ours is not api
        assert inspect.iscoroutinefunction(ours) == inspect.iscoroutinefunction(api)
        if not name.endswith("lock"):  # its arguments are those of the remote cache's
            assert list(inspect.signature(ours).parameters) == list(inspect.signature(api).parameters)

    def test_class_without_remote_is_unchanged(self):
        assert type(TieredCache("redis://127.0.0.1:1", {})) is TieredCache
        assert type(TieredCache("redis://127.0.0.1:1", {"OPTIONS": {"REMOTE": None}})) is TieredCache

    def test_subclass_keeps_its_methods(self, configure):
        cache, remote = configure(backend=f"{__name__}.Subclass")
        assert isinstance(cache, Subclass)
        assert isinstance(cache, AliasTieredCache)
        cache.set("key", 1)
        assert remote.get("key") == 1
        assert cache.get("key") == ("own", 1)

    def test_traced(self, configure):
        cache, remote = configure(backend="nearcache.django.traced.TieredCache")
        assert isinstance(cache, traced.TieredCache)
        cache.set("key", 1)
        assert cache.add("key", 2) is False
        assert remote.get("key") == cache.get("key") == 1
        assert cache.delete("key") is True
        assert remote.get("key") is None

    def test_copy_has_the_same_entries(self, configure):
        cache, _ = configure()
        copied = copy.copy(cache)
        copied.set("key", 1)
        assert cache.get("key") == copied.get("key") == 1
        assert copied.stats().hits == cache.stats().hits == 1
        assert type(copied) is type(cache)

    def test_has_the_settings_of_the_remote(self, configure):
        cache, remote = configure(given={"KEY_PREFIX": "mine", "VERSION": 7, "TIMEOUT": 11})
        assert (cache.key_prefix, cache.version, cache.default_timeout) == ("mine", 7, 11)
        assert cache.make_key("key") == remote.make_key("key") == "mine:7:key"
        cache.set("key", 1)
        assert remote.get("key", version=7) == 1
        assert cache.get("key", version=8) is None
