"""Keys are made, validated and warned about as by Django: `prefix:version:key`."""

import contextlib
import threading
import warnings

import pytest
from django.core.cache.backends.base import CacheKeyWarning, InvalidCacheKey, default_key_func
from django.utils.safestring import mark_safe
from hypothesis import given
from hypothesis import strategies as st

from support.caches import new_location
from support.tiered_caches import count_entries


def raw_key(key, prefix, version):
    return key


def reversed_key(key, prefix, version):
    return f"{key}|{version}|{prefix}"


class Shouting(str):
    """A str that says something else of itself."""

    def __str__(self):
        return "SHOUTED"


@pytest.fixture
def store(make_cache):
    """Return a function that makes handles of one store; its ``raw`` takes stored keys as they are."""
    location = new_location()

    def handle(**settings):
        return make_cache(LOCATION=location, **settings)

    handle.raw = handle(KEY_FUNCTION=raw_key)
    handle.raw.validate_key = lambda key: None
    return handle


@contextlib.contextmanager
def recorded():
    """Collect the cache's warnings as (class, text)."""
    found = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield found
    found += [(warning.category, str(warning.message)) for warning in caught]


class TestStoredKey:
    @pytest.mark.parametrize(
        ("settings", "key", "version", "stored"),
        [
            ({}, "key", None, ":1:key"),
            ({"KEY_PREFIX": "site"}, "key", None, "site:1:key"),
            ({"KEY_PREFIX": "a:b"}, "c:d", None, "a:b:1:c:d"),
            ({"KEY_PREFIX": "präfix"}, "schlüssel", None, "präfix:1:schlüssel"),
            ({"VERSION": 7}, "key", None, ":7:key"),
            ({"VERSION": 7}, "key", 8, ":8:key"),
            ({"VERSION": "v"}, "key", None, ":v:key"),
            ({"VERSION": None}, "key", None, ":None:key"),
            ({"VERSION": True}, "key", None, ":True:key"),
            ({"VERSION": 2**70}, "key", None, f":{2**70}:key"),
            ({}, "key", 0, ":0:key"),
            ({}, "key", -3, ":-3:key"),
            ({}, "key", 2**63 - 1, f":{2**63 - 1}:key"),
            ({}, "key", -(2**63), f":{-(2**63)}:key"),
            ({}, "key", 2**63, f":{2**63}:key"),
            ({}, "key", 10**30, f":{10**30}:key"),
            ({}, "key", "two", ":two:key"),
            ({}, "key", True, ":True:key"),
            ({}, "key", 2.0, ":2.0:key"),
            ({}, "key", (1,), ":(1,):key"),
            ({}, "", None, ":1:"),
            ({"KEY_PREFIX": ""}, ":", None, ":1::"),
            ({}, 5, None, ":1:5"),
            ({}, None, None, ":1:None"),
            ({}, True, None, ":1:True"),
            ({}, 1.5, None, ":1:1.5"),
            ({}, ("a",), None, ":1:('a',)"),
            ({}, b"key", None, ":1:b'key'"),
            ({}, mark_safe("safe"), None, ":1:safe"),
            ({}, Shouting("quiet"), None, ":1:SHOUTED"),
            ({"KEY_PREFIX": mark_safe("safe")}, "key", None, "safe:1:key"),
            ({"KEY_PREFIX": Shouting("quiet")}, "key", None, "SHOUTED:1:key"),
            ({"KEY_PREFIX": 5}, "key", None, "5:1:key"),
            ({"KEY_PREFIX": None}, "key", None, "None:1:key"),
            ({}, "\ud800", None, ":1:\ud800"),
            ({}, "日本語🐍", None, ":1:日本語🐍"),
        ],
    )
    def test_is_prefix_version_key(self, store, settings, key, version, stored):
        store(**settings).set(key, "value", version=version)
        assert store.raw.get(stored) == "value"
        assert count_entries(store.raw) == 1

    @pytest.mark.memory_only("a server is told the prefix in UTF-8")
    def test_may_have_a_prefix_with_a_lone_surrogate(self, store):
        store(KEY_PREFIX="\udfff").set("key", "value")
        assert store.raw.get("\udfff:1:key") == "value"

    @pytest.mark.parametrize(
        "reach",
        [
            lambda cache, key, version: cache.get(key, version=version) == 5,
            lambda cache, key, version: cache.get_many([key], version=version) == {key: 5},
            lambda cache, key, version: cache.has_key(key, version=version),
            lambda cache, key, version: not cache.add(key, 6, version=version),
            lambda cache, key, version: cache.touch(key, version=version),
            lambda cache, key, version: cache.incr(key, version=version) == 6,
            lambda cache, key, version: cache.decr(key, version=version) == 4,
            lambda cache, key, version: cache.delete(key, version=version),
            lambda cache, key, version: cache.get_or_set(key, 6, version=version) == 5,
        ],
        ids=["get", "get_many", "has_key", "add", "touch", "incr", "decr", "delete", "get_or_set"],
    )
    @pytest.mark.parametrize("key", ["key", 5, "\ud800", Shouting("quiet")], ids=ascii)
    @pytest.mark.parametrize("version", [None, 2, "two"])
    def test_is_the_same_for_every_method(self, make_cache, reach, key, version):
        cache = make_cache(KEY_PREFIX="p")
        cache.set(key, 5, version=version)
        assert reach(cache, key, version)

    def test_is_the_same_for_a_number_and_its_text(self, cache):
        cache.set(1, "value")
        assert cache.get("1") == "value"

    def test_is_the_same_for_versions_with_the_same_text(self, cache):
        cache.set("key", "value", version=2)
        assert cache.get("key", version="2") == "value"

    def test_differs_for_true_and_one(self, cache):
        cache.set("key", "value", version=1)
        assert cache.get("key", version=True) is None

    def test_distinguishes_lone_surrogates(self, cache):
        for number in range(3):
            cache.set(chr(0xD800 + number), number)
        cache.set("?", 3)
        assert list(cache.get_many(["\ud800", "\ud801", "\ud802", "?"]).values()) == [0, 1, 2, 3]

    def test_does_not_end_at_nul(self, cache):
        with recorded():
            cache.set_many({"a\0b": 1, "a\0c": 2, "a": 3})
            assert cache.get_many(["a\0b", "a\0c", "a"]) == {"a\0b": 1, "a\0c": 2, "a": 3}

    def test_is_not_normalized(self, cache):
        cache.set_many({"é": 1, "e\u0301": 2})
        assert cache.get("é") == 1

    @pytest.mark.local_only("keys have 65,535 bytes at most")
    def test_may_have_a_megabyte(self, cache):
        key = "k" * 1_000_000
        with recorded():
            cache.set(key, 1)
            cache.set(key + "!", 2)
            assert cache.get(key) == 1

    @given(
        prefix=st.text(st.characters(exclude_categories=()), max_size=5),
        key=st.text(st.characters(exclude_categories=()), max_size=300),
        version=st.one_of(st.none(), st.integers(), st.text(max_size=3), st.booleans()),
    )
    def test_is_that_of_make_key(self, store, prefix, key, version):
        cache = store(KEY_PREFIX=prefix)
        with recorded():
            cache.set(key, key, version=version)
            assert store.raw.get(cache.make_key(key, version=version)) == key


class TestVersionArgument:
    def test_versions_are_separate(self, cache):
        cache.set("key", "one")
        cache.set("key", "two", version=2)
        assert cache.get("key") == "one"
        assert cache.get("key", version=2) == "two"
        cache.delete("key", version=1)
        assert cache.get("key", version=2) == "two"

    def test_may_be_given_by_position(self, cache):
        cache.set("key", 5, 60, 2)
        assert cache.get("key", None, 2) == 5
        assert cache.has_key("key", 2)
        assert cache.incr("key", 1, 2) == 6
        assert cache.get_many(["key"], 2) == {"key": 6}
        assert cache.delete("key", 2)

    def test_none_is_the_version_of_the_cache(self, make_cache):
        cache = make_cache(VERSION=4)
        cache.set("key", 1, version=None)
        assert cache.get("key", version=4) == 1


class TestLiveAttributes:
    def test_key_prefix_takes_effect(self, store):
        cache = store(KEY_PREFIX="old")
        cache.set("key", 1)
        cache.key_prefix = "new"
        assert cache.get("key") is None
        cache.set("key", 2)
        assert store.raw.get("new:1:key") == 2
        cache.key_prefix = "old"
        assert cache.get("key") == 1

    @pytest.mark.parametrize("version", [2, "two", None, True, 2**70])
    def test_version_takes_effect(self, store, version):
        cache = store()
        cache.set("key", 1)
        cache.version = version
        assert cache.get("key") is None
        cache.set("key", 2)
        assert store.raw.get(f":{version}:key") == 2
        cache.version = 1
        assert cache.get("key") == 1

    def test_key_func_takes_effect(self, store):
        cache = store()
        cache.set("key", 1)
        cache.key_func = reversed_key
        assert cache.get("key") is None
        cache.set("key", 2)
        assert store.raw.get("key|1|") == 2
        cache.key_func = default_key_func
        assert cache.get("key") == 1

    @pytest.mark.parametrize("prefix", ["with space", "x" * 300, "del\x7f", "\ud800"])
    def test_prefix_worth_a_warning_takes_effect(self, cache, prefix):
        with recorded():
            cache.key_prefix = prefix
            cache.set("key", 1)
            assert cache.get("key") == 1
            cache.key_prefix = ""
            assert cache.get("key") is None

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("make_key", lambda key, version=None: f"made {key}"),
            ("make_and_validate_key", lambda key, version=None: f"made {key}"),
        ],
    )
    def test_method_assigned_to_the_instance_takes_effect_until_deleted(self, store, name, value):
        cache = store()
        cache.validate_key = lambda key: None
        cache.set("key", 1)
        setattr(cache, name, value)
        assert cache.get("key") is None
        cache.set("key", 2)
        assert store.raw.get("made key") == 2
        delattr(cache, name)
        assert cache.get("key") == 1

    def test_class_attribute_is_used_when_the_instance_s_is_deleted(self, store, backend):
        class Prefixed(backend):
            key_prefix = "class"

        cache = store(backend=Prefixed, KEY_PREFIX="instance")
        cache.set("key", 1)
        assert store.raw.get("instance:1:key") == 1
        del cache.key_prefix
        cache.set("key", 2)
        assert store.raw.get("class:1:key") == 2

    @pytest.mark.parametrize("name", ["key_prefix", "version", "key_func"])
    def test_deleting_a_required_attribute_fails_at_the_next_use(self, make_cache, make_locmem, name):
        for cache in (make_cache(), make_locmem()):
            delattr(cache, name)
            with pytest.raises(AttributeError, match=name):
                cache.get("key")
            setattr(cache, name, {"key_func": default_key_func}.get(name, 1))
            cache.set("key", 1)
            assert cache.get("key") == 1

    def test_deleting_a_missing_attribute_fails(self, cache):
        with pytest.raises(AttributeError):
            del cache.make_key
        cache.set("key", 1)
        assert cache.get("key") == 1


class TestKeyFunction:
    @pytest.mark.parametrize("function", [reversed_key, f"{__name__}.reversed_key"], ids=["callable", "path"])
    def test_makes_the_key(self, store, function):
        cache = store(KEY_FUNCTION=function, KEY_PREFIX="p", VERSION=2)
        cache.set("key", 1)
        cache.set("key", 2, version=5)
        assert store.raw.get("key|2|p") == 1
        assert store.raw.get("key|5|p") == 2
        assert cache.get("key") == 1

    def test_gets_key_prefix_and_version_as_they_are(self, make_cache):
        seen = []

        def spy(*args):
            seen.append(args)
            return "made"

        cache = make_cache(KEY_FUNCTION=spy, KEY_PREFIX="p", VERSION="v")
        key = object()
        cache.get(key)
        cache.get(key, version=3)
        assert seen == [(key, "p", "v"), (key, "p", 3)]

    def test_is_called_once_a_key(self, make_cache):
        seen = []

        def spy(key, prefix, version):
            seen.append(key)
            return key

        cache = make_cache(KEY_FUNCTION=spy)
        cache.set_many({"a": 1, "b": 2})
        cache.get_many(["a", "b", "c"])
        assert seen == ["a", "b", "a", "b", "c"]

    def test_may_return_a_str_subclass(self, store):
        cache = store(KEY_FUNCTION=lambda key, prefix, version: mark_safe(key))
        cache.set("key", 1)
        assert store.raw.get("key") == 1

    @pytest.mark.parametrize("made", [5, b"bytes", None, ("a",)], ids=repr)
    @pytest.mark.parametrize(
        "use",
        [
            lambda cache: cache.get("key"),
            lambda cache: cache.set("key", 1),
            lambda cache: cache.delete("key"),
            lambda cache: cache.incr("key"),
            lambda cache: cache.get_many(["key"]),
            lambda cache: cache.set_many({"key": 1}),
        ],
        ids=["get", "set", "delete", "incr", "get_many", "set_many"],
    )
    def test_that_returns_no_str_is_an_error(self, make_cache, made, use):
        cache = make_cache(KEY_FUNCTION=lambda key, prefix, version: made)
        with pytest.raises(TypeError, match="key function must return a str") as raised:
            use(cache)
        assert repr(made) in str(raised.value)
        assert type(made).__name__ in str(raised.value)

    @pytest.mark.parametrize(
        "use",
        [
            lambda cache: cache.get("key"),
            lambda cache: cache.set("key", 1),
            lambda cache: cache.add("key", 1),
            lambda cache: cache.touch("key"),
            lambda cache: cache.delete("key"),
            lambda cache: cache.incr("key"),
            lambda cache: cache.has_key("key"),
            lambda cache: cache.get_many(["key"]),
            lambda cache: cache.set_many({"key": 1}),
            lambda cache: cache.delete_many(["key"]),
        ],
        ids=[
            "get",
            "set",
            "add",
            "touch",
            "delete",
            "incr",
            "has_key",
            "get_many",
            "set_many",
            "delete_many",
        ],
    )
    def test_error_is_raised(self, make_cache, use):
        def failing(key, prefix, version):
            raise LookupError("no such tenant")

        with pytest.raises(LookupError, match="no such tenant"):
            use(make_cache(KEY_FUNCTION=failing))

    def test_may_use_the_cache(self, store):
        other = store(KEY_PREFIX="other")

        def counting(key, prefix, version):
            other.add("count", 0)
            other.incr("count")
            return key

        cache = store(KEY_FUNCTION=counting)
        cache.set("key", 1)
        assert cache.get("key") == 1
        assert other.get("count") == 2

    def test_key_that_cannot_be_text_raises_its_own_error(self, cache):
        class Speechless:
            def __str__(self):
                raise LookupError("nothing to say")

        with pytest.raises(LookupError, match="nothing to say"):
            cache.get(Speechless())


METHODS = {
    "get": lambda cache, key: cache.get(key),
    "set": lambda cache, key: cache.set(key, 1),
    "add": lambda cache, key: cache.add(key, 1),
    "touch": lambda cache, key: cache.touch(key),
    "delete": lambda cache, key: cache.delete(key),
    "has_key": lambda cache, key: cache.has_key(key),
    "incr": lambda cache, key: (cache.set(key, 1), cache.incr(key)),
    "decr": lambda cache, key: (cache.set(key, 1), cache.decr(key)),
    "get_or_set": lambda cache, key: cache.get_or_set(key, 1),
    "get_many": lambda cache, key: cache.get_many([key, "fine", key]),
    "set_many": lambda cache, key: cache.set_many({key: 1, "fine": 2}),
    "delete_many": lambda cache, key: cache.delete_many([key, "fine"]),
    "incr_version": lambda cache, key: (cache.set(key, 1), cache.incr_version(key)),
}


class TestWarnings:
    @pytest.mark.parametrize(
        ("key", "count"),
        [
            pytest.param("k" * 246, 0, id="249 characters"),
            pytest.param("k" * 247, 0, id="250 characters"),
            pytest.param("k" * 248, 1, id="251 characters"),
            pytest.param("ü" * 247, 0, id="250 characters of 2 bytes"),
            pytest.param("ü" * 248, 1, id="251 characters of 2 bytes"),
            pytest.param("日" * 247, 0, id="250 characters of 3 bytes"),
            pytest.param("🐍" * 247, 0, id="250 characters of 4 bytes"),
            pytest.param("🐍" * 248, 1, id="251 characters of 4 bytes"),
            pytest.param("\ud800" * 247, 0, id="250 surrogates"),
            pytest.param("\ud800" * 248, 1, id="251 surrogates"),
            pytest.param("k" * 247 + " ", 2, id="251 characters with a space"),
            pytest.param("a b", 1, id="space"),
            pytest.param(" ", 1, id="only a space"),
            pytest.param("a\nb", 1, id="newline"),
            pytest.param("tab\t", 1, id="tab"),
            pytest.param("\0", 1, id="NUL"),
            pytest.param("\x1f", 1, id="last control character"),
            pytest.param("!", 0, id="first printable"),
            pytest.param("~", 0, id="last printable"),
            pytest.param("\x7f", 1, id="DEL"),
            pytest.param("\x80", 0, id="first beyond ASCII"),
            pytest.param("\xa0", 0, id="no-break space"),
            pytest.param("\u2003", 0, id="em space"),
            pytest.param("'\"\\ ", 1, id="quotes"),
            pytest.param(("a", "b"), 1, id="tuple"),
            pytest.param(5, 0, id="number"),
            pytest.param("", 0, id="empty"),
        ],
    )
    @pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
    def test_are_django_s(self, cache, locmem, method, key, count):
        with recorded() as ours:
            method(cache, key)
        with recorded() as django:
            method(locmem, key)
        assert ours == django
        assert (len(ours) > 0) == (count > 0)
        with recorded() as single:
            cache.get(key)
        assert len(single) == count
        assert {category for category, _ in single} <= {CacheKeyWarning}

    @pytest.mark.parametrize(
        ("settings", "key"),
        [
            ({"KEY_PREFIX": "p" * 100}, "k" * 147),
            ({"KEY_PREFIX": "p" * 100}, "k" * 148),
            ({"KEY_PREFIX": "p" * 300}, "key"),
            ({"KEY_PREFIX": "ü" * 100}, "k" * 147),
            ({"KEY_PREFIX": "two words"}, "key"),
            ({"KEY_PREFIX": "del\x7f"}, "a b"),
            ({"VERSION": "v 1"}, "key"),
            ({"VERSION": 10**10}, "k" * 238),
            ({"VERSION": 10**10}, "k" * 239),
            ({"KEY_FUNCTION": reversed_key}, "a b"),
            ({"KEY_FUNCTION": raw_key}, "k" * 250),
            ({"KEY_FUNCTION": raw_key}, "k" * 251),
        ],
        ids=ascii,
    )
    def test_apply_to_the_whole_key(self, make_cache, make_locmem, settings, key):
        with recorded() as ours:
            make_cache(**settings).get(key)
        with recorded() as django:
            make_locmem(**settings).get(key)
        assert ours == django

    @pytest.mark.parametrize("version", [5, "v 1", 10**250, -(10**9)], ids=str)
    def test_apply_to_the_version_given(self, cache, locmem, version):
        with recorded() as ours:
            cache.get("k" * 244, version=version)
        with recorded() as django:
            locmem.get("k" * 244, version=version)
        assert ours == django

    def test_point_to_the_caller_as_django_s_do(self, cache, locmem):
        places = []
        for each in (cache, locmem):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                each.get("a b")
            places.append([(warning.filename, warning.lineno) for warning in caught])
        assert places[0] == places[1]
        assert len(places[0]) == 1

    @pytest.mark.parametrize(
        "method", [METHODS[name] for name in ("get", "set", "add", "set_many", "delete", "has_key", "touch")]
    )
    def test_as_an_error_stops_the_operation(self, cache, method):
        with recorded():
            cache.set("a b", "old")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(CacheKeyWarning, match="a b"):
                method(cache, "a b")
        with recorded():
            assert cache.get("a b") == "old"

    @given(st.text(st.characters(exclude_categories=()), max_size=260), st.integers(-5, 10**40))
    def test_are_django_s_for_any_key(self, cache, locmem, key, version):
        with recorded() as ours:
            cache.get(key, version=version)
        with recorded() as django:
            locmem.get(key, version=version)
        assert ours == django


class TestOverriddenMethods:
    def test_make_key_of_a_subclass_is_used(self, store, backend):
        class Upper(backend):
            def make_key(self, key, version=None):
                return super().make_key(key, version).upper()

        cache = store(backend=Upper, KEY_PREFIX="p")
        cache.set("key", 1)
        assert store.raw.get("P:1:KEY") == 1
        assert cache.get("KeY") == 1
        assert cache.get_many(["Key"]) == {"Key": 1}

    def test_validate_key_of_a_subclass_sees_every_stored_key(self, make_cache, backend):
        seen = []

        class Spying(backend):
            def validate_key(self, key):
                seen.append(key)

        cache = make_cache(backend=Spying)
        cache.set("a b", 1)
        cache.get("fine")
        cache.get_many(["a", "b"])
        assert seen == [":1:a b", ":1:fine", ":1:a", ":1:b"]

    def test_validate_key_may_refuse(self, make_cache, backend):
        class Strict(backend):
            def validate_key(self, key):
                raise InvalidCacheKey(f"not {key}")

        cache = make_cache(backend=Strict)
        for method in METHODS.values():
            with pytest.raises(InvalidCacheKey, match="not :1:key"):
                method(cache, "key")
        assert cache.stats().sets == 0

    def test_make_and_validate_key_of_a_subclass_is_used_alone(self, store, backend):
        class Whole(backend):
            def make_and_validate_key(self, key, version=None):
                return f"whole {key} {version}"

            def make_key(self, key, version=None):
                raise AssertionError("not called by Django either")

            validate_key = make_key

        cache = store(backend=Whole)
        cache.set("key", 1, version=3)
        assert store.raw.get("whole key 3") == 1

    def test_key_prefix_may_be_a_property(self, store, backend):
        tenant = threading.local()

        class Tenants(backend):
            @property
            def key_prefix(self):
                return tenant.name

            @key_prefix.setter
            def key_prefix(self, value):
                pass

        tenant.name = "north"
        cache = store(backend=Tenants)
        cache.set("key", 1)
        tenant.name = "south"
        assert cache.get("key") is None
        cache.set("key", 2)
        assert store.raw.get_many(["north:1:key", "south:1:key"]) == {"north:1:key": 1, "south:1:key": 2}

    def test_version_may_be_a_property(self, store, backend):
        versions = iter(range(100))

        class Versioned(backend):
            version = property(lambda self: next(versions), lambda self, value: None)

        cache = store(backend=Versioned)
        start = next(versions)
        cache.set("key", 1)
        cache.set("key", 2)
        stored = store.raw.get_many([f":{start + 1}:key", f":{start + 2}:key"])
        assert list(stored.values()) == [1, 2]


class TestTwoHandlesOfOneStore:
    def test_with_different_prefixes_do_not_see_each_other_s_keys(self, store):
        one, two = store(KEY_PREFIX="one"), store(KEY_PREFIX="two")
        one.set("key", 1)
        assert "key" not in two
        two.set("key", 2)
        assert one.get("key") == 1
        two.delete("key")
        assert one.get("key") == 1

    def test_share_the_store(self, store):
        one, two = store(KEY_PREFIX="one"), store(KEY_PREFIX="two")
        one.set("key", 1)
        assert count_entries(two) == 1
        two.clear()
        assert "key" not in one

    def test_with_different_versions_reach_each_other_by_version(self, store):
        one, two = store(VERSION=1), store(VERSION=2)
        one.set("key", 1)
        assert two.get("key") is None
        assert two.get("key", version=1) == 1
