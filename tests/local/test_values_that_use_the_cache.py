"""Values that use the cache while it works on them."""

import operator

import pytest


@pytest.fixture
def cache(make_cache, clock):
    """Return a cache whose time stands still."""
    return make_cache(CLOCK=clock.path)


class Meddling:
    """Uses the cache while it is pickled, unpickled, and added to."""

    cache = None

    def __init__(self, depth=1):
        self.depth = depth

    def meddle(self):
        count = self.cache.get("meddled", 0)
        self.cache.set("meddled", count + 1)
        self.cache.add("added", 1)
        self.cache.get_many(["meddled", "key"] if self.depth == 0 else ["meddled"])
        self.cache.delete("nothing")

    def __getstate__(self):
        self.meddle()
        return {"depth": self.depth}

    def __setstate__(self, state):
        self.depth = state["depth"]
        self.meddle()

    def __add__(self, other):
        self.meddle()
        return Meddling(self.depth + other)


class TestValueThatUsesTheCache:
    """No lock is held while code of others runs."""

    @pytest.fixture
    def cache(self, cache):
        Meddling.cache = cache
        yield cache
        Meddling.cache = None

    @pytest.mark.parametrize(
        "use",
        [
            lambda cache: cache.set("key", Meddling()),
            lambda cache: cache.add("key", [Meddling()]),
            lambda cache: cache.set_many({"key": {"a": Meddling()}}),
            lambda cache: cache.get_or_set("key", Meddling),
        ],
        ids=["set", "add", "set_many", "get_or_set"],
    )
    def test_while_it_is_pickled(self, cache, use):
        use(cache)
        assert cache.get("meddled") > 0
        assert cache.has_key("key")

    @pytest.mark.parametrize(
        "use",
        [
            lambda cache: cache.get("key"),
            lambda cache: cache.get_many(["key"])["key"],
            lambda cache: cache.incr("key", 2),
            lambda cache: cache.incr_version("key"),
        ],
        ids=["get", "get_many", "incr", "incr_version"],
    )
    def test_while_it_is_unpickled(self, cache, use):
        cache.set("key", Meddling())
        before = cache.get("meddled")
        assert use(cache)
        assert cache.get("meddled") > before

    def test_sum_of_such_values_is_right(self, cache):
        cache.set("key", Meddling(1))
        assert cache.incr("key", 2).depth == 3
        assert cache.get("key").depth == 3

    def test_while_it_overwrites_itself(self, cache):
        class Overwriting:
            def __reduce__(self):
                cache.set("key", "inner")
                return operator.add, ("out", "er")

        cache.set("key", Overwriting())
        assert cache.get("key") == "outer"

    def test_while_the_cache_is_cleared(self, cache):
        class Clearing:
            def __reduce__(self):
                cache.clear()
                return operator.add, ("cl", "ear")

        cache.set("other", 1)
        cache.set("key", Clearing())
        assert cache.get_many(["key", "other"]) == {"key": "clear"}

    def test_sum_over_a_value_changed_meanwhile_is_of_the_new_one(self, cache):
        class Late:
            """Changes the value in the middle of the first addition."""

            calls = 0

            def __radd__(self, old):
                self.calls += 1
                if self.calls == 1:
                    cache.set("key", 100)
                return old + 1

        late = Late()
        cache.set("key", 1)
        assert cache.incr("key", late) == 101
        assert cache.get("key") == 101
        assert late.calls == 2

    def test_sum_over_a_value_deleted_meanwhile_is_of_nothing(self, cache):
        class Deleting:
            def __radd__(self, old):
                cache.delete("key")
                return old + 1

        cache.set("key", 1)
        with pytest.raises(ValueError, match="Key ':1:key' not found"):
            cache.incr("key", Deleting())
        assert "key" not in cache
