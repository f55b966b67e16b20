"""`clear` deletes the keys of one KEY_PREFIX, or the database, and the near copies with them."""

import asyncio

import pytest
from django.core.exceptions import ImproperlyConfigured

from support.near_tiers import NEAR, Caches

DJANGO_S = "django.core.cache.backends.base.default_key_func"


@pytest.fixture(params=NEAR, ids=str)
def caches(request, server, tmp_path):
    """Return what makes caches with one of the near tiers."""
    made = Caches(server, request.param, tmp_path)
    yield made
    made.close()


@pytest.fixture(params=["clear", "aclear"])
def clear(request):
    """Return a function that clears a cache, synchronously or not."""

    def clear(cache):
        result = getattr(cache, request.param)()
        assert (asyncio.run(result) if request.param == "aclear" else result) is None

    return clear


def other_key(key, prefix, version):
    return f"{key}/{prefix}/{version}"


class TestPrefix:
    @pytest.mark.parametrize("prefix", ["", "a", "*", "a*", "?", "[ab]", "a^", "\\", "\\*", "ä"])
    def test_other_prefixes_are_left_alone(self, caches, clear, prefix):
        others = {"", "a", "ab", "aa", "b", "*", "**", "a*", "?", "[ab]", "^", "a^", "\\", "\\*", "ä"} - {
            prefix
        }
        cache = caches.make(KEY_PREFIX=prefix)
        cache.set_many({"key": 1, "other": 2})
        cache.set("key", 1, version=2)
        for other in others:
            caches.wire.command("SET", f"{other}:1:key", 1)
        clear(cache)
        assert {key.decode() for key in caches.wire.command("KEYS", "*")} == {f"{x}:1:key" for x in others}
        assert cache.get_many(["key", "other"]) == {}
        assert cache.get("key", version=2) is None

    def test_of_django_s_own_function_by_name_is_known(self, caches, clear):
        cache = caches.make(KEY_PREFIX="mine", KEY_FUNCTION=DJANGO_S)
        cache.set("key", 1)
        caches.wire.command("SET", "theirs:1:key", 1)
        clear(cache)
        assert caches.wire.command("KEYS", "*") == [b"theirs:1:key"]

    def test_many_keys_are_deleted(self, caches, clear):
        cache = caches.make(KEY_PREFIX="many")
        cache.set_many({str(number): number for number in range(5000)})
        clear(cache)
        assert caches.wire.command("DBSIZE") == 0

    def test_near_copies_go_with_the_entries(self, caches, clear):
        cache = caches.make()
        cache.set("key", [1])
        assert cache.get("key") == cache.get("key") == [1]
        clear(cache)
        assert cache.get("key") is None

    def test_without_a_known_prefix_is_refused(self, caches, clear):
        cache = caches.make(KEY_FUNCTION=other_key)
        cache.set("key", 1)
        with pytest.raises(ImproperlyConfigured, match='"CLEAR"'):
            clear(cache)
        assert cache.get("key") == 1


class TestFlush:
    @pytest.mark.parametrize("settings", [{}, {"KEY_FUNCTION": other_key}], ids=["default", "function"])
    def test_empties_the_database_and_no_other(self, caches, clear, settings):
        cache = caches.make(KEY_PREFIX="mine", OPTIONS={"CLEAR": "flushdb"}, **settings)
        cache.set("key", 1)
        caches.wire.command("SET", "theirs", 1)
        caches.wire.command("SELECT", 1)
        caches.wire.command("SET", "theirs", 1)
        clear(cache)
        assert caches.wire.command("DBSIZE") == 1
        caches.wire.command("SELECT", 0)
        assert caches.wire.command("DBSIZE") == 0
        assert cache.get("key") is None
