"""Reentrant calls: values, keys, clocks, deltas, defaults and finalizers that use the cache they are used by.

Nothing may deadlock or crash, and every operation takes effect in some order. Each test has its own process.
"""

import contextlib
import sys
import time
import warnings

import pytest

from nearcache.django import LocalCache
from support.isolated import isolated
from support.reentrancy import KEPT, LOCATION, Hooked, Recorder, StoringHook, last_reference, new_cache, use


class TestPickling:
    WAYS_IN = {  # noqa: RUF012
        "set": lambda cache, value: cache.set("key", value),
        "add": lambda cache, value: cache.add("key", value),
        "set_many": lambda cache, value: cache.set_many({"key": value}),
    }

    @pytest.mark.parametrize("method", WAYS_IN)
    @isolated
    def test_value_uses_the_cache_when_it_is_pickled(self, method):
        cache = new_cache()
        for value, number in (
            (Hooked(7), lambda found: found.number),
            ([Hooked(7)], lambda found: found[0].number),
            ({"a": Hooked(7)}, lambda found: found["a"].number),
        ):
            cache.clear()
            cache.set("other", 1)
            recorder = Recorder(cache, "another")
            Hooked.on_pickle = recorder
            self.WAYS_IN[method](cache, value)
            assert recorder.calls == 1
            assert number(cache.get("key")) == 7
            # The recorder cleared the cache before the value was stored.
            assert cache.get_many(["another", "other"]) == {"another": "from within"}

    @isolated
    def test_computed_value_that_clears_the_cache_when_it_is_pickled_is_not_stored(self):
        cache = new_cache()
        recorder = Recorder(cache, "another")
        Hooked.on_pickle = recorder
        # It may have been computed from what was deleted.
        assert cache.get_or_set("key", lambda: [Hooked(7)])[0].number == 7
        assert recorder.calls == 1
        assert "key" not in cache
        assert cache.get("another") == "from within"
        assert cache.get_or_set("key", lambda: "next") == "next"

    @isolated
    def test_value_computes_the_same_key_when_it_is_pickled(self):
        cache = new_cache()
        Hooked.on_pickle = lambda: cache.get_or_set("key", lambda: "from within")
        assert cache.get_or_set("key", lambda: Hooked(7)).number == 7
        assert cache.get("key").number == 7

    @isolated
    def test_value_sets_the_same_key_when_it_is_pickled(self):
        cache = new_cache()
        Hooked.on_pickle = lambda: cache.set("key", "from within")
        cache.set("key", Hooked(7))
        # The outer call ends last.
        assert cache.get("key").number == 7

    @isolated
    def test_value_adds_the_same_key_when_it_is_pickled(self):
        cache = new_cache()
        inner = []
        Hooked.on_pickle = lambda: inner.append(cache.add("key", "from within"))
        assert cache.add("key", Hooked(7)) is False
        assert inner == [True]
        assert cache.get("key") == "from within"

    @isolated
    def test_value_that_fails_after_it_cleared_the_cache_is_not_stored(self):
        cache = new_cache()
        cache.set("key", "before")

        def fail():
            use(cache, "another")
            raise LookupError("from within")

        Hooked.on_pickle = fail
        with pytest.raises(LookupError, match="from within"):
            cache.set("key", Hooked(7))
        assert cache.get("key") is None
        assert cache.get("another") == "from within"

    @isolated
    def test_value_uses_the_cache_when_it_is_unpickled(self):
        cache = new_cache()
        cache.set("key", Hooked(7))
        recorder = Recorder(cache)
        for get in (
            lambda: cache.get("key"),
            lambda: cache.get_many(["none", "key"])["key"],
            lambda: cache.get_or_set("key", 1),
        ):
            cache.set("key", Hooked(7))
            Hooked.on_unpickle = recorder
            assert get().number == 7
            assert cache.get("key") == "from within"
        assert recorder.calls == 3

    @pytest.mark.parametrize("method", ["incr", "incr_version"])
    @isolated
    def test_value_uses_the_cache_when_it_is_unpickled_to_be_written_again(self, method):
        cache = new_cache()
        cache.set("key", Hooked(7))
        hook = Hooked.on_unpickle = StoringHook(cache)
        if method == "incr":
            assert cache.incr("key", 2).number == 9
        else:
            assert cache.incr_version("key") == 2
            assert cache.get("key", version=2).number == 7
        assert hook.calls == 1
        assert cache.get("another") == "from within"

    @isolated
    def test_value_that_stores_itself_without_end_is_a_recursion_error(self):
        cache = new_cache()
        depth = 0

        class Endless:
            def __reduce__(self):
                nonlocal depth
                depth += 1
                cache.set("key", self)
                return str, ()

        with pytest.raises(RecursionError):
            cache.set("key", Endless())
        assert depth > 10
        assert cache.get("key") is None
        use(cache)


class TestKeys:
    @isolated
    def test_key_uses_the_cache_when_it_is_converted_to_text(self):
        cache = new_cache()
        recorder = Recorder(cache, "another")

        class Key:
            def __str__(self):
                recorder()
                return "key"

        use(cache, Key())
        assert recorder.calls == 16
        cache.set("key", 7)
        assert cache.get(Key()) is None  # cleared from within, before it is looked up
        assert cache.get("another") == "from within"

    @isolated
    def test_key_uses_the_cache_when_it_is_hashed_and_compared(self):
        cache = new_cache()
        called = []

        class Key(str):
            __slots__ = ()

            def __hash__(self):
                called.append("hash")
                cache.set("another", called)
                return 0

            def __eq__(self, other):
                called.append("eq")
                cache.delete("b")
                return str(self) == str(other)

        cache.set_many({"a": 1, "b": 2, "c": 3})
        found = cache.get_many([Key("a"), Key("b"), Key("c")])
        assert [(str(key), value) for key, value in found.items()] == [("a", 1), ("b", 2), ("c", 3)]
        assert {"hash", "eq"} == set(called)
        assert cache.get("b") is None

    @isolated
    def test_key_function_uses_the_cache(self):
        recorder = Recorder(new_cache(), "another")

        def key_function(key, prefix, version):
            recorder()
            return f"{prefix}:{version}:{key}"

        cache = new_cache(KEY_FUNCTION=key_function)
        use(cache)
        assert recorder.calls > 10
        assert cache.get("another") == "from within"

    @isolated
    def test_reverse_key_function_uses_the_cache(self):
        recorder = Recorder(new_cache(), "another")

        def reverse(stored):
            recorder()
            return stored.split(":", 2)[2]

        cache = new_cache(REVERSE_KEY_FUNCTION=reverse)
        for number in range(2000):
            cache.set(f"key{number}", number)
        # The recorder clears the cache at the first, so that those of later slices are gone.
        assert len(cache.keys("key*")) < 2000
        cache.set("last", 1)
        assert cache.delete_pattern("last") <= 1
        assert recorder.calls > 1

    @isolated
    def test_warning_of_a_key_uses_the_cache(self):
        cache = new_cache()
        recorder = Recorder(cache, "another")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = recorder
            cache.set("key with spaces", 7)
            assert cache.get("key with spaces") is None
            assert recorder.calls == 2

    @isolated
    def test_iterables_of_keys_use_the_cache(self):
        cache = new_cache()
        recorder = Recorder(cache, "another")

        def keys():
            for number in range(10):
                cache.set(number, number)
                yield number
                recorder()

        assert cache.get_many(keys()) == {number: number for number in range(10)}
        cache.delete_many(keys())
        assert recorder.calls == 20
        assert cache.get_many(range(10)) == {}

    @isolated
    def test_items_to_set_use_the_cache(self):
        cache = new_cache()
        recorder = Recorder(cache, "another")

        class Items(dict):
            def items(self):
                for item in super().items():
                    recorder()
                    yield item

        assert cache.set_many(Items(a=1, b=2, c=3)) == []
        assert recorder.calls == 3
        # Each was stored after the clear that came before it.
        assert cache.get_many("abc") == {"c": 3}


class Clock:
    """What `CLOCK` names here."""

    on_read = None

    @classmethod
    def read(cls):
        if cls.on_read:
            cls.on_read()
        return time.time()


read_clock = Clock.read


class TestClock:
    @isolated
    def test_clock_uses_the_cache(self):
        cache = new_cache(CLOCK=f"{__name__}.read_clock")
        for other in (cache, new_cache()):
            recorder = Recorder(other, "another")
            Clock.on_read = recorder
            use(cache)
            assert recorder.calls > 10
        assert cache.get("another") == "from within"


class TestIncr:
    @isolated
    def test_sum_is_right_if_every_hook_uses_the_cache(self):
        cache = new_cache()
        cache.set("key", Hooked(7))
        hook = Hooked.on_pickle = Hooked.on_unpickle = Hooked.on_add = StoringHook(cache)
        assert cache.incr("key", 2).number == 9
        assert cache.get("key").number == 9
        assert hook.calls == 3

    @isolated
    def test_addition_sets_the_same_key(self):
        cache = new_cache()
        cache.set("key", Hooked(7))
        Hooked.on_add = lambda: cache.set("key", 100)
        # The sum of 7 comes too late; the addition is repeated with 100.
        assert cache.incr("key") == 101
        assert cache.get("key") == 101

    @isolated
    def test_addition_increments_the_same_key(self):
        cache = new_cache()
        cache.set("key", Hooked(7))
        inner = []
        Hooked.on_add = lambda: inner.append(cache.incr("key", 10).number)
        assert cache.incr("key", 1).number == 18
        assert inner == [17]
        assert cache.get("key").number == 18

    @pytest.mark.parametrize("method", ["delete", "clear"])
    @isolated
    def test_addition_removes_the_same_key(self, method):
        cache = new_cache()
        cache.set("key", Hooked(7))
        Hooked.on_add = cache.clear if method == "clear" else lambda: cache.delete("key")
        with pytest.raises(ValueError, match="not found"):
            cache.incr("key")
        assert cache.get("key") is None

    @isolated
    def test_addition_replaces_the_key_by_deleting_and_setting_it(self):
        cache = new_cache()
        cache.set("key", Hooked(7))

        def replace():
            cache.delete("key")
            cache.set("key", 100)

        Hooked.on_add = replace
        assert cache.incr("key") == 101
        assert cache.get("key") == 101

    @isolated
    def test_addition_fails_after_it_used_the_cache(self):
        cache = new_cache()
        cache.set("key", Hooked(7))

        def fail():
            use(cache, "another")
            cache.set("key", 100)
            raise LookupError("from within")

        Hooked.on_add = fail
        with pytest.raises(LookupError, match="from within"):
            cache.incr("key")
        assert cache.get("key") == 100

    @pytest.mark.parametrize("method", ["incr", "set"])
    @isolated
    def test_delta_changes_the_value(self, method):
        cache = new_cache()
        cache.set("key", 7)

        class Delta:
            added_to = []  # noqa: RUF012

            def __radd__(self, number):
                self.added_to.append(number)
                if len(self.added_to) == 1:
                    cache.incr("key", 10) if method == "incr" else cache.set("key", 17)
                return number + 1

        # The sum of 7 comes too late; the addition is repeated with the new value.
        assert cache.incr("key", Delta()) == 18
        assert Delta.added_to == [7, 17]
        assert cache.get("key") == 18

    @isolated
    def test_delta_deletes_the_value(self):
        cache = new_cache()
        cache.set("key", 7)

        class Delta:
            def __radd__(self, number):
                cache.delete("key")
                return number + 1

        with pytest.raises(ValueError, match="Key ':1:key' not found"):
            cache.incr("key", Delta())
        assert "key" not in cache

    @isolated
    def test_addition_that_always_sets_the_same_key_ends(self):
        cache = new_cache()
        additions = []

        class Delta:
            def __radd__(self, number):
                additions.append(number)
                cache.set("key", number)
                return number + 1

        cache.set("key", 7)
        # No order of these has an end, unless the call gives up or lets the sum win.
        with contextlib.suppress(RuntimeError):
            assert cache.incr("key", Delta()) == 8
        assert additions
        assert cache.get("key") in (7, 8)


class TestDefaults:
    @isolated
    def test_default_of_get_or_set_uses_the_cache(self):
        cache = new_cache()

        def default():
            cache.set("key", "from within")
            return "default"

        # The value that was stored first stays.
        assert cache.get_or_set("key", default) == "from within"
        assert cache.get_or_set("other", lambda: cache.get_or_set("inner", lambda: "inner")) == "inner"
        assert cache.get_many(["other", "inner"]) == {"other": "inner", "inner": "inner"}


class TestFinalizers:
    """Callbacks of values that are destroyed when the cache drops the last reference."""

    @pytest.mark.parametrize(
        "way",
        [
            "delete",
            "delete_many",
            "delete_pattern",
            "overwrite",
            "overwrite_xx",
            "incr",
            "clear",
            "touch",
            "expire_at",
            "expire",
            "sweep",
            "evict",
            "cull",
            "cull_all",
        ],
    )
    @isolated
    def test_callback_uses_the_cache(self, way):
        clock = type("Clock", (), {"now": time.time()})
        Clock.on_read = None
        globals()["read_manual_clock"] = lambda: clock.now
        cache = new_cache(CLOCK=f"{__name__}.read_manual_clock", MAX_ENTRIES=10)
        recorder = Recorder(cache, "callback")
        cache.set("key", last_reference(recorder), 50)
        assert recorder.calls == 0
        self.remove(cache, way, clock)
        assert recorder.calls == 1
        assert KEPT[0]() is None
        if way not in ("clear", "cull_all"):
            assert cache.get("callback") == "from within"
        use(cache)

    def remove(self, cache, way, clock):
        at_once = {
            "delete": lambda: cache.delete("key"),
            "delete_pattern": lambda: cache.delete_pattern("k*"),
            "overwrite_xx": lambda: cache.set("key", "new", xx=True),
            "touch": lambda: cache.touch("key", -1),
            "expire_at": lambda: cache.expire_at("key", 1),
        }
        if way in at_once:
            assert at_once[way]() == 1
        elif way == "delete_many":
            cache.delete_many(["none", "key"])
        elif way == "overwrite":
            cache.set("key", "new")
        elif way == "incr":
            delta = type("Delta", (), {"__radd__": lambda self, value: 42})()
            assert cache.incr("key", delta) == 42
        elif way == "clear":
            cache.clear()
        elif way == "expire":
            clock.now += 100
            assert cache.get("key") is None
            # Removed by the get, or by a write.
            cache.set("other", 1)
        elif way == "sweep":
            clock.now += 100
            for number in range(10):
                cache.set(number, number, None)
        else:
            cache._cull_frequency = {"evict": None, "cull": 2, "cull_all": 0}[way]
            for number in range(12):
                cache.set(number, number, None)

    @pytest.mark.parametrize("eviction", ["adaptive", "s3-fifo", "lru"])
    @isolated
    def test_callbacks_of_many_evictions_store_more(self, eviction):
        cache = new_cache(MAX_ENTRIES=5, EVICTION=eviction)
        calls = []

        def again():
            calls.append(True)
            # Bounded, for each runs within the one before.
            if len(calls) % 20:
                cache.set(f"again{len(calls)}", last_reference(again))

        for number in range(50):
            cache.set(number, last_reference(again))
        assert len(calls) > 100
        assert 0 < cache.stats().entries <= 5

    @isolated
    def test_callbacks_of_all_entries_evicted_by_a_large_value_use_the_cache(self):
        cache = LocalCache(LOCATION, {"OPTIONS": {"MAX_MEMORY": 20_000}})
        recorder = Recorder(cache, "callback")
        stored = 0
        while cache.stats().evictions == 0:
            cache.set(stored, last_reference(recorder))
            stored += 1
        assert stored > 20
        recorder.cache = new_cache()
        before = recorder.calls
        for _ in range(30):
            cache.set("filler", [last_reference(recorder) for _ in range(20)])
        assert recorder.calls > before
        assert cache.stats().memory <= 20_000

    @isolated
    def test_callback_of_a_tree_s_leaf_uses_the_cache(self):
        cache = new_cache()
        recorder = Recorder(cache, "another")
        cache.set("key", {"list": [last_reference(recorder)], "tuple": (last_reference(recorder), [])})
        cache.set("key", "new")
        # The second found the recorder busy, or it came later.
        assert 1 <= recorder.calls <= 2
        assert all(reference() is None for reference in KEPT)

    @isolated
    def test_callback_raises(self):
        cache = new_cache()
        unraisable = []
        sys.unraisablehook = lambda args: unraisable.append(str(args.exc_value))

        def fail():
            raise LookupError("from within")

        cache.set("key", last_reference(fail))
        cache.set("key", "new")
        assert unraisable == ["from within"]
        assert cache.get("key") == "new"

    @isolated
    def test_callbacks_use_the_cache_when_the_interpreter_ends(self):
        cache = new_cache()
        for number in range(100):
            cache.set(number, last_reference(lambda: use(cache)))
