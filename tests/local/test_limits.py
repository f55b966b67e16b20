"""Values too large, what is counted, and which store it is counted in."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from nearcache import Stats
from support.caches import new_location


@pytest.fixture
def cache(make_cache, clock):
    """Return a cache whose time stands still."""
    return make_cache(CLOCK=clock.path)


class TestTooLargeValue:
    """Django knows of no such thing: `set` says nothing, but the old value must not stay as if new."""

    @pytest.fixture
    def cache(self, make_cache):
        return make_cache(MAX_MEMORY=10_000)

    LARGE = pytest.mark.parametrize(
        "large",
        [b"x" * 10_000, "x" * 10_000, list(range(2000)), bytearray(10_000)],
        ids=["bytes", "str", "list", "pickle"],
    )

    @LARGE
    def test_is_not_stored_but_counted_and_the_old_value_is_gone(self, cache, large):
        cache.set("key", "old")
        assert cache.set("key", large) is None
        assert cache.get("key") is None
        assert cache.stats().rejections == 1
        assert cache.stats().sets == 1

    @LARGE
    def test_leaves_other_entries(self, cache, large):
        cache.set("other", "value")
        cache.set("key", large)
        assert cache.get("other") == "value"
        assert cache.stats().evictions == 0

    @LARGE
    def test_is_named_by_set_many(self, cache, large):
        assert cache.set_many({"a": 1, 5: large, "b": 2, "c": large}) == [5, "c"]
        assert cache.get_many(["a", 5, "b", "c"]) == {"a": 1, "b": 2}
        assert cache.stats().rejections == 2

    @LARGE
    def test_is_not_added(self, cache, large):
        assert cache.add("key", large) is False
        assert "key" not in cache
        assert cache.stats().rejections == 1

    def test_is_not_added_to_an_existing_value_which_stays(self, cache):
        cache.set("key", "old")
        assert cache.add("key", b"x" * 10_000) is False
        assert cache.get("key") == "old"

    def test_is_given_by_get_or_set(self, cache):
        assert cache.get_or_set("key", b"x" * 10_000) == b"x" * 10_000
        assert "key" not in cache

    def test_as_a_sum_is_returned_and_the_old_value_is_gone(self, cache):
        cache.set("key", "a")
        assert cache.incr("key", "b" * 10_000) == "a" + "b" * 10_000
        assert cache.get("key") is None
        assert cache.stats().rejections == 1

    def test_with_a_large_key_is_rejected_too(self, cache):
        cache.validate_key = lambda key: None
        assert cache.set_many({"k" * 10_000: 1}) == ["k" * 10_000]


class TestStats:
    def test_of_a_new_store_are_zero(self, cache):
        stats = cache.stats()
        assert type(stats) is Stats
        assert set(counts(cache).values()) == {0}
        assert stats.memory == 0
        assert stats.hit_ratio is None

    COUNTED = {  # noqa: RUF012
        "get of what is there": (lambda cache: cache.get("there"), {"hits": 1}),
        "get of None": (lambda cache: cache.get("none"), {"hits": 1}),
        "get of what is missing": (lambda cache: cache.get("missing"), {"misses": 1}),
        "get_many": (lambda cache: cache.get_many(["there", "none", "x", "there"]), {"hits": 3, "misses": 1}),
        "has_key": (lambda cache: cache.has_key("there"), {}),
        "has_key of what is missing": (lambda cache: cache.has_key("missing"), {}),
        "in": (lambda cache: "there" in cache, {}),
        "touch": (lambda cache: cache.touch("there"), {}),
        "touch of what is missing": (lambda cache: cache.touch("missing"), {}),
        "touch that removes": (lambda cache: cache.touch("there", 0), {"expirations": 1, "entries": -1}),
        "incr": (lambda cache: cache.incr("there"), {"sets": 1}),
        "decr": (lambda cache: cache.decr("there"), {"sets": 1}),
        "incr_version": (lambda cache: cache.incr_version("there"), {"hits": 1, "sets": 1, "deletes": 1}),
        "set of what is missing": (lambda cache: cache.set("new", 1), {"sets": 1, "entries": 1}),
        "set of what is there": (lambda cache: cache.set("there", 2), {"sets": 1}),
        "add of what is missing": (lambda cache: cache.add("new", 1), {"sets": 1, "entries": 1}),
        "add of what is there": (lambda cache: cache.add("there", 2), {}),
        "set_many": (lambda cache: cache.set_many({"new": 1, "there": 2}), {"sets": 2, "entries": 1}),
        "get_or_set of what is there": (lambda cache: cache.get_or_set("there", 2), {"hits": 1}),
        "get_or_set of what is missing": (
            lambda cache: cache.get_or_set("new", 1),
            {"misses": 1, "sets": 1, "hits": 1, "entries": 1},
        ),
        "delete": (lambda cache: cache.delete("there"), {"deletes": 1, "entries": -1}),
        "delete of what is missing": (lambda cache: cache.delete("missing"), {}),
        "delete_many": (lambda cache: cache.delete_many(["there", "missing"]), {"deletes": 1, "entries": -1}),
        "clear": (lambda cache: cache.clear(), {"deletes": 2, "entries": -2}),
    }

    @pytest.mark.parametrize(("use", "counted"), COUNTED.values(), ids=COUNTED)
    def test_count_each_operation(self, cache, use, counted):
        cache.set_many({"there": 1, "none": None})
        before = counts(cache)
        use(cache)
        after = counts(cache)
        assert {name: after[name] - before[name] for name in after if after[name] != before[name]} == counted

    def test_count_a_read_of_what_has_expired_as_a_miss(self, cache, clock):
        cache.set("key", 1, 10)
        clock.advance(10)
        cache.get("key")
        stats = cache.stats()
        assert (stats.hits, stats.misses, stats.expirations, stats.entries) == (0, 1, 1, 0)

    def test_count_expirations(self, cache, clock):
        cache.set_many({"a": 1, "b": 2}, 10)
        clock.advance(10)
        cache.get_many("ab")
        cache.set("c", 3)
        assert cache.stats().expirations == 2
        assert cache.stats().evictions == 0
        assert cache.stats().entries == 1

    def test_count_evictions(self, make_cache):
        cache = make_cache(MAX_ENTRIES=10)
        cache.set_many(dict.fromkeys(range(25)))
        assert cache.stats().evictions == 15
        assert cache.stats().entries == 10

    def test_tell_memory(self, cache):
        cache.set("key", b"x" * 100_000)
        assert 100_000 < cache.stats().memory < 101_000
        cache.set("key", b"")
        assert 0 < cache.stats().memory < 1000
        cache.delete("key")
        assert cache.stats().memory == 0

    @pytest.mark.parametrize(
        "value",
        [
            "x" * 100_000,
            "é" * 100_000,
            b"x" * 100_000,
            bytearray(100_000),
            10**300_000,
            ["x" * 50_000] * 2 + ["y" * 100_000],
        ],
        ids=["ASCII", "Latin-1", "bytes", "bytearray", "int", "list"],
    )
    def test_tell_no_less_memory_than_a_value_takes(self, cache, value):
        cache.set("key", value)
        assert 100_000 <= cache.stats().memory <= 500_000

    def test_tell_the_hit_ratio(self, cache):
        cache.set("key", 1)
        cache.get_many(["key", "key", "key", "missing"])
        assert cache.stats().hit_ratio == 0.75

    def test_are_equal_if_all_counts_are(self, cache):
        assert cache.stats() == cache.stats()
        before = cache.stats()
        cache.get("key")
        assert cache.stats() != before

    def test_do_not_change_afterwards(self, cache):
        stats = cache.stats()
        cache.get("key")
        assert stats.misses == 0
        with pytest.raises(AttributeError):
            stats.misses = 5

    def test_say_all_in_their_repr(self, cache):
        cache.set("key", 1)
        cache.get_many(["key", "missing", "none"])
        memory = cache.stats().memory
        text, _, age = repr(cache.stats()).rpartition(", age=")
        assert text == (
            "Stats(hits=1, misses=2, hit_ratio=0.3333, sets=1, deletes=0, evictions=0, expirations=0, "
            f"rejections=0, entries=1, memory={memory}, max_entries=None, max_memory=67108864"
        )
        assert float(age.removesuffix(")")) >= 0

    def test_repr_before_the_first_read_has_no_ratio(self, cache):
        assert "hit_ratio=None" in repr(cache.stats())


def counts(cache):
    """Return the counts that say what was done, without those that follow from them."""
    stats = cache.stats()
    names = ("hits", "misses", "sets", "deletes", "evictions", "expirations", "rejections", "entries")
    return {name: getattr(stats, name) for name in names}


class TestLocation:
    def test_same_name_is_the_same_store(self, make_cache):
        location = new_location()
        one, two = make_cache(LOCATION=location), make_cache(LOCATION=location)
        one.set("key", [1])
        assert two.get("key") == [1]
        assert two.stats() == one.stats()
        two.clear()
        assert "key" not in one

    def test_other_name_is_another_store(self, make_cache):
        one, two = make_cache(), make_cache()
        one.set("key", 1)
        assert two.get("key") is None
        two.clear()
        assert one.get("key") == 1

    @pytest.mark.parametrize(
        "location", ["", "ünï", "a b", "/not/a/path", "x" * 10_000], ids=lambda name: name[:9]
    )
    def test_may_be_any_text(self, make_cache, location):
        one = make_cache(LOCATION=location)
        one.set("key", 1)
        assert make_cache(LOCATION=location).get("key") == 1

    def test_outlives_its_handles(self, make_cache):
        location = new_location()
        make_cache(LOCATION=location).set("key", 1)
        assert make_cache(LOCATION=location).get("key") == 1

    def test_is_not_locmem_s(self, make_cache, make_locmem):
        location = new_location()
        make_locmem(LOCATION=location).set("key", 1)
        assert make_cache(LOCATION=location).get("key") is None

    @pytest.mark.parametrize(
        ("first", "second"), [("lru", "adaptive"), ("adaptive", "s3-fifo"), ("s3-fifo", "lru")]
    )
    def test_with_another_eviction_is_refused(self, make_cache, first, second):
        location = new_location()
        cache = make_cache(LOCATION=location, EVICTION=first)
        with pytest.raises(ImproperlyConfigured) as raised:
            make_cache(LOCATION=location, EVICTION=second)
        assert location in str(raised.value)
        assert first in str(raised.value)
        cache.set("key", 1)
        assert make_cache(LOCATION=location, EVICTION=first).get("key") == 1

    def test_may_have_handles_of_different_timeouts_and_clocks(self, make_cache, clock):
        location = new_location()
        short = make_cache(LOCATION=location, CLOCK=clock.path, TIMEOUT=10)
        long = make_cache(LOCATION=location, CLOCK=clock.path, TIMEOUT=100)
        short.set("short", 1)
        long.set("long", 1)
        clock.advance(10)
        assert short.get_many(["short", "long"]) == long.get_many(["short", "long"]) == {"long": 1}
