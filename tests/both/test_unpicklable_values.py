"""Values that cannot be pickled are refused at once, and the old value stays."""

import pickle
import threading

import pytest

from support.sample_values import Box, Unreadable, ways_out


class TestUnpicklable:
    """Fails where it is stored, as Django's tests want it, and leaves alone what is there."""

    @staticmethod
    def local_object():
        class Local:
            pass

        return Local()

    VALUES = {  # noqa: RUF012
        "lambda": lambda: lambda: None,
        "local object": local_object,
        "generator": lambda: (x for x in ()),
        "lock": threading.Lock,
        "memoryview": lambda: memoryview(b"abc"),
        "module": lambda: pickle,
        "dict view": {}.keys,
    }
    values = pytest.mark.parametrize("make", VALUES.values(), ids=VALUES)
    wraps = pytest.mark.parametrize(
        "wrap",
        [lambda v: v, lambda v: [v], lambda v: {"a": [1, v]}, lambda v: ([], v), Box],
        ids=["alone", "list", "dict", "tuple", "box"],
    )
    stores = pytest.mark.parametrize(
        "store",
        [
            lambda cache, value: cache.set("key", value),
            lambda cache, value: cache.add("key", value),
            lambda cache, value: cache.set_many({"key": value}),
            lambda cache, value: cache.get_or_set("missing", value, 5),
            lambda cache, value: cache.get_or_set("missing", lambda: value),
        ],
        ids=["set", "add", "set_many", "get_or_set", "get_or_set callable"],
    )

    @values
    @wraps
    def test_raises_what_locmem_raises(self, cache, locmem, make, wrap):
        value = wrap(make())
        with pytest.raises((TypeError, AttributeError, pickle.PicklingError)) as ours:
            cache.set("key", value)
        with pytest.raises((TypeError, AttributeError, pickle.PicklingError)) as django:
            locmem.set("key", value)
        assert type(ours.value) is type(django.value)
        assert str(ours.value) == str(django.value)

    @stores
    def test_is_refused_at_once_and_the_old_value_stays(self, cache, store):
        cache.set("key", ["old"])
        with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
            store(cache, [1, threading.Lock()])
        assert cache.get("key") == ["old"]
        assert not cache.has_key("missing")
        assert cache.stats().sets == 1

    def test_open_file_is_refused(self, cache, tmp_path):
        with (tmp_path / "file").open("w") as file, pytest.raises(TypeError, match="cannot pickle"):
            cache.set("key", file)
        assert "key" not in cache

    @stores
    def test_error_of_the_value_is_raised(self, cache, store):
        class Refusing:
            def __reduce__(self):
                raise LookupError("not me")

        cache.set("key", "old")
        with pytest.raises(LookupError, match="not me"):
            store(cache, [Refusing()])
        assert cache.get("key") == "old"

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError])
    def test_interruption_is_raised(self, cache, error):
        class Interrupting:
            def __reduce__(self):
                raise error

        cache.set("key", "old")
        with pytest.raises(error):
            cache.set("key", Interrupting())
        assert cache.get("key") == "old"

    @pytest.mark.memory_only("nothing is sent before all values are pickled")
    def test_set_many_keeps_earlier_entries(self, cache, locmem):
        for each in (cache, locmem):
            with pytest.raises(TypeError):
                each.set_many({"a": 1, "b": threading.Lock(), "c": 3})
            assert each.get_many("abc") == {"a": 1}

    @pytest.mark.memory_only("a server adds whole numbers")
    def test_sum_that_cannot_be_pickled_leaves_the_old_value(self, cache):
        cache.set("key", [1])
        with pytest.raises(TypeError, match="cannot pickle"):
            cache.incr("key", [threading.Lock()])
        assert cache.get("key") == [1]

    @pytest.mark.local_only("what another process stored and this one cannot read is a miss")
    @ways_out
    def test_error_of_unpickling_is_raised(self, cache, take):
        cache.set("key", Unreadable())
        with pytest.raises(ZeroDivisionError):
            take(cache)
        assert "key" in cache
