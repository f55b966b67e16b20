"""set() with nx (only if absent) and xx (only if present)."""

import asyncio
import threading

import pytest

from nearcache.django import LocalCache


class TestNx:
    def test_stores_a_new_key(self, cache):
        assert cache.set("key", "new", nx=True) is True
        assert cache.get("key") == "new"

    def test_leaves_an_existing_value(self, cache):
        cache.set("key", "old", 50)
        assert cache.set("key", "new", 5, nx=True) is False
        assert cache.get("key") == "old"
        assert cache.ttl("key") == 50

    def test_replaces_an_expired_value(self, make_cache, clock):
        cache = make_cache(CLOCK=clock.path)
        cache.set("key", "old", 5)
        clock.advance(5)
        assert cache.set("key", "new", nx=True) is True

    @pytest.mark.parametrize("timeout", [0, -1])
    def test_with_timeout_zero_returns_whether_it_could_store(self, cache, timeout):
        assert cache.set("key", "new", timeout, nx=True) is True
        assert "key" not in cache
        cache.set("key", "old")
        assert cache.set("key", "new", timeout, nx=True) is False
        assert cache.get("key") == "old"

    def test_succeeds_in_one_thread_only(self, cache):
        won = []
        start = threading.Barrier(16)

        def compete(number):
            start.wait()
            if cache.set("key", number, nx=True):
                won.append(number)

        threads = [threading.Thread(target=compete, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert won == [cache.get("key")]


class TestXx:
    def test_replaces_an_existing_value(self, cache):
        cache.set("key", "old", 50)
        assert cache.set("key", "new", 5, xx=True) is True
        assert cache.get("key") == "new"
        assert cache.ttl("key") == 5

    def test_does_not_store_a_new_key(self, cache):
        assert cache.set("key", "new", xx=True) is False
        assert "key" not in cache

    def test_does_not_replace_an_expired_value(self, make_cache, clock):
        cache = make_cache(CLOCK=clock.path)
        cache.set("key", "old", 5)
        clock.advance(5)
        assert cache.set("key", "new", xx=True) is False
        assert "key" not in cache

    def test_with_timeout_zero_removes_the_value(self, cache):
        cache.set("key", "old")
        assert cache.set("key", "new", 0, xx=True) is True
        assert "key" not in cache
        assert cache.set("key", "new", 0, xx=True) is False

    @pytest.mark.local_only("the least that MAX_MEMORY can be")
    def test_of_a_too_large_value_is_false_and_removes_the_old_one(self, make_cache):
        cache = make_cache(MAX_MEMORY=2000)
        cache.set("key", "old")
        assert cache.set("key", "x" * 4000, xx=True) is False
        assert "key" not in cache


class TestEither:
    @pytest.mark.parametrize("choice", ["nx", "xx"])
    def test_is_of_the_version(self, cache, choice):
        cache.set("key", "old", version=2)
        assert cache.set("key", "new", None, 1, **{choice: True}) is (choice == "nx")
        assert cache.get("key", version=2) == "old"

    def test_without_either_returns_none(self, cache):
        assert cache.set("key", 1) is None
        assert cache.set("key", 1, nx=False, xx=False) is None
        assert cache.get("key") == 1

    def test_of_both_is_an_error(self, cache):
        with pytest.raises(ValueError, match=r"nx and xx are mutually exclusive"):
            cache.set("key", 1, nx=True, xx=True)
        assert "key" not in cache

    @pytest.mark.parametrize("choice", ["nx", "xx"])
    @pytest.mark.parametrize("bad", [1, "yes", None, []])
    def test_has_to_be_a_bool(self, cache, choice, bad):
        with pytest.raises(TypeError, match=rf"{choice} must be True or False, not "):
            cache.set("key", 1, **{choice: bad})
        assert "key" not in cache

    def test_is_keyword_only(self, cache):
        with pytest.raises(TypeError, match="positional"):
            cache.set("key", 1, None, 1, True)

    @pytest.mark.parametrize("choice", ["nx", "xx"])
    def test_with_a_bad_timeout_is_an_error(self, cache, choice):
        cache.set("key", "old")
        with pytest.raises(TypeError, match="timeout must be"):
            cache.set("key", 1, "soon", **{choice: True})
        assert cache.get("key") == "old"


class TestOverriddenSet:
    def test_is_called_by_aset_with_django_s_arguments_alone(self, make_cache):
        class Cache(LocalCache):
            def set(self, key, value, timeout=None, version=None):
                super().set(key, [value], timeout, version)

        cache = make_cache(backend=Cache)
        asyncio.run(cache.aset("key", 1))
        assert cache.get("key") == [1]
