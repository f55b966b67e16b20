"""A LocalCache as a Python object: its types, repr, identity and attributes."""

import pytest
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.locmem import LocMemCache

from nearcache import _core
from nearcache.django import LocalCache


class TestBackendObject:
    def test_is_a_django_cache_and_not_a_locmem_cache(self, cache):
        assert isinstance(cache, BaseCache)
        assert not isinstance(cache, LocMemCache)
        assert f"{LocalCache.__module__}.{LocalCache.__qualname__}" == "nearcache.django.local.LocalCache"

    def test_has_a_repr(self, cache):
        assert "LocalCache" in repr(cache)

    def test_is_hashable_and_differs_from_other_handles(self, make_cache):
        one, other = make_cache(LOCATION="packaging"), make_cache(LOCATION="packaging")
        assert one != other
        assert len({one, other, one}) == 2

    def test_accepts_attributes(self, cache):
        cache.label = "mine"
        assert cache.label == "mine"
        assert vars(cache)["label"] == "mine"
        del cache.label
        assert not hasattr(cache, "label")

    def test_unopened_core_object_is_an_error(self):
        with pytest.raises(RuntimeError, match="not open"):
            _core.Backend().get("key")
