"""Values larger than the whole cache: rejected, counted, and the old value is removed."""

import pytest


class TestTooLargeValue:
    """Django has no such error: `set` returns None, and the old value must not stay as if it were new."""

    @pytest.fixture
    def cache(self, make_cache):
        return make_cache(MAX_MEMORY=10_000)

    LARGE = pytest.mark.parametrize(
        "large",
        [b"x" * 10_000, "x" * 10_000, list(range(2000)), bytearray(10_000)],
        ids=["bytes", "str", "list", "pickle"],
    )

    @LARGE
    def test_is_rejected_and_counted_and_the_old_value_is_removed(self, cache, large):
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
    def test_is_reported_by_set_many(self, cache, large):
        assert cache.set_many({"a": 1, 5: large, "b": 2, "c": large}) == [5, "c"]
        assert cache.get_many(["a", 5, "b", "c"]) == {"a": 1, "b": 2}
        assert cache.stats().rejections == 2

    @LARGE
    def test_is_not_added(self, cache, large):
        assert cache.add("key", large) is False
        assert "key" not in cache
        assert cache.stats().rejections == 1

    def test_is_not_added_over_an_existing_value(self, cache):
        cache.set("key", "old")
        assert cache.add("key", b"x" * 10_000) is False
        assert cache.get("key") == "old"

    def test_is_returned_by_get_or_set(self, cache):
        assert cache.get_or_set("key", b"x" * 10_000) == b"x" * 10_000
        assert "key" not in cache

    def test_sum_is_returned_and_the_old_value_is_removed(self, cache):
        cache.set("key", "a")
        assert cache.incr("key", "b" * 10_000) == "a" + "b" * 10_000
        assert cache.get("key") is None
        assert cache.stats().rejections == 1

    def test_large_key_is_rejected_too(self, cache):
        cache.validate_key = lambda key: None
        assert cache.set_many({"k" * 10_000: 1}) == ["k" * 10_000]
