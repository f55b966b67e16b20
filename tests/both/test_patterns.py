"""keys(), iter_keys() and delete_pattern(), also while the cache is in use."""

import asyncio
import contextlib
import itertools
import sys
import threading

import pytest
from django.core.cache import CacheHandler
from django.core.exceptions import ImproperlyConfigured

from nearcache.django import LocalCache
from support.flights import leading, waiters

SOME = 5_000  # keys, so that looking through them takes several slices


def key_at_end(key, prefix, version):
    """Make a key in another way than Django."""
    return f"{key}@{prefix}@{version}"


def reverse(stored):
    return stored.rpartition("@")[0].rpartition("@")[0]


def shouting(stored):
    raise LookupError(stored)


def found(cache, pattern, **more):
    """Return what keys, iter_keys and their twins find, which is the same."""

    async def asynchronously():
        keys = [key async for key in cache.aiter_keys(pattern, **more)]
        assert sorted(await cache.akeys(pattern, **more)) == sorted(keys)
        return sorted(keys)

    keys = cache.keys(pattern, **more)
    assert type(keys) is list
    assert sorted(cache.iter_keys(pattern, **more)) == sorted(keys) == asyncio.run(asynchronously())
    return sorted(keys)


@pytest.fixture(params=["delete_pattern", "adelete_pattern"])
def delete(request):
    """Return a function that deletes by a pattern, synchronously or not."""

    def delete_pattern(cache, *arguments, **more):
        deleted = getattr(cache, request.param)(*arguments, **more)
        return asyncio.run(deleted) if request.param.startswith("a") else deleted

    return delete_pattern


class TestKeys:
    def test_have_no_prefix_and_version(self, make_cache):
        cache = make_cache(KEY_PREFIX="site", VERSION=3)
        cache.set_many({"user:1": 1, "user:2": 2, "page:1": 3})
        assert found(cache, "user:*") == ["user:1", "user:2"]
        assert found(cache, "*") == ["page:1", "user:1", "user:2"]
        assert found(cache, "user") == []

    def test_are_of_this_version(self, cache):
        cache.set("a", 1)
        cache.set("b", 1, version=2)
        cache.set("c", 1, version=22)
        assert found(cache, "*") == ["a"]
        assert found(cache, "*", version=2) == ["b"]
        cache.version = 22
        assert found(cache, "*") == ["c"]

    def test_are_of_this_prefix_only(self, make_cache):
        one = make_cache(LOCATION="prefixes", KEY_PREFIX="one")
        for prefix in ("o", "one:1", "*", "on?", "[one]", ""):
            make_cache(LOCATION="prefixes", KEY_PREFIX=prefix).set("other", 1)
        one.set("mine", 1)
        assert "mine" in found(one, "*")
        star = make_cache(LOCATION="prefixes", KEY_PREFIX="*")
        assert found(star, "*") == ["other"]

    def test_may_have_colons_in_their_prefix_and_in_themselves(self, make_cache):
        cache = make_cache(KEY_PREFIX="a:b")
        cache.set("x:y:z", 1)
        assert found(cache, "x:*") == ["x:y:z"]

    def test_that_are_numbers_are_returned_as_text(self, cache):
        cache.set(7, 1)
        cache.set(None, 1)
        assert found(cache, "*") == ["7", "None"]
        assert all(cache.get(key) == 1 for key in cache.keys("*"))

    @pytest.mark.filterwarnings("ignore:Cache key")
    def test_may_be_any_text(self, cache):
        texts = ["", " ", "\n", "é€😀", "\udc80", "x" * 1000]
        for text in texts:
            cache.set(text, 1)
        assert found(cache, "*") == sorted(texts)

    def test_of_expired_entries_are_omitted(self, make_cache, clock):
        cache = make_cache(CLOCK=clock.path)
        cache.set("dead", 1, 5)
        cache.set("alive", 1, 6)
        clock.advance(5)
        assert found(cache, "*") == ["alive"]

    def test_of_an_empty_cache_is_an_empty_list(self, cache):
        assert found(cache, "*") == []

    def test_of_a_large_cache_are_all_returned_once(self, cache):
        cache.set_many({f"key{number}": number for number in range(SOME)})
        assert found(cache, "*") == sorted(f"key{number}" for number in range(SOME))
        assert len(found(cache, "key1*")) == sum(str(number).startswith("1") for number in range(SOME))

    def test_are_of_a_subclass_with_a_computed_prefix(self, make_cache):
        class Cache(LocalCache):
            tenant = "one"

            @property
            def key_prefix(self):
                return self.tenant

            @key_prefix.setter
            def key_prefix(self, value):
                pass

        cache = make_cache(backend=Cache)
        cache.set("a", 1)
        cache.tenant = "two"
        cache.set("b", 1)
        assert found(cache, "*") == ["b"]

    def test_do_not_count_as_reads(self, cache):
        cache.set("key", 1)
        cache.keys("*")
        assert (cache.stats().hits, cache.stats().misses) == (0, 0)

    @pytest.mark.parametrize("bad", [None, b"*", 5, ["*"]], ids=repr)
    @pytest.mark.parametrize("method", ["keys", "iter_keys", "delete_pattern"])
    def test_need_a_str_as_pattern(self, cache, method, bad):
        cache.set("key", 1)
        with pytest.raises(TypeError, match=r"a pattern must be a str, not "):
            getattr(cache, method)(bad)
        assert "key" in cache

    @pytest.mark.parametrize("method", ["keys", "iter_keys", "delete_pattern"])
    def test_error_of_the_clock_is_raised(self, make_cache, clock, method):
        cache = make_cache(CLOCK=clock.path)
        clock.now = None
        with pytest.raises(TypeError, match="CLOCK"):
            getattr(cache, method)("*")

    def test_take_django_redis_s_arguments(self, cache, delete):
        cache.set("key", 1)
        assert list(cache.iter_keys("k*", itersize=10, version=1)) == ["key"]
        assert list(cache.iter_keys(search="k*")) == cache.keys(search="k*", version=None) == ["key"]
        assert delete(cache, pattern="k*", itersize=10, version=1) == 1


class TestIteration:
    def test_is_lazy(self, cache):
        cache.set_many(dict.fromkeys(map(str, range(SOME))))
        keys = cache.iter_keys("*")
        assert iter(keys) is keys
        first = next(keys)
        cache.clear()
        cache.set("late", 1)
        rest = list(keys)
        assert first not in rest
        assert len(rest) < SOME
        assert next(keys, "ended") == "ended"

    def test_finds_unchanged_keys_once_while_others_change(self, cache):
        staying = {f"stays{number}" for number in range(SOME)}
        cache.set_many(dict.fromkeys(staying))
        keys = cache.iter_keys("stays*")
        seen = []
        for number in itertools.count():
            cache.set_many(dict.fromkeys(f"new{number}-{one}" for one in range(20)))
            cache.delete_many(f"new{number - 1}-{one}" for one in range(20))
            some = list(itertools.islice(keys, 50))
            if not some:
                break
            seen += some
        assert len(seen) == len(staying)
        assert set(seen) == staying

    def test_works_in_threads_that_write(self, cache):
        staying = {f"stays{number}" for number in range(SOME)}
        cache.set_many(dict.fromkeys(staying))
        ended = threading.Event()
        written = []

        def write():
            for number in itertools.count():
                cache.set(f"other{number % 500}", number)
                cache.delete(f"other{(number + 250) % 500}")
                if ended.is_set():
                    written.append(number)
                    return

        threads = [threading.Thread(target=write) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(10):
                seen = cache.keys("stays*")
                assert len(seen) == len(staying)
                assert set(seen) == staying
                assert set(cache.keys("other*")) <= {f"other{number}" for number in range(500)}
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        assert len(written) == 4

    def test_lets_other_threads_run(self, cache):
        """With a switch interval of a minute nobody gets the GIL who is not given it."""
        cache.set_many(dict.fromkeys(map(str, range(SOME))))
        ran, ready, go = threading.Event(), threading.Event(), threading.Lock()

        def other():
            ready.set()
            with go:
                ran.set()

        interval = sys.getswitchinterval()
        thread = threading.Thread(target=other)
        go.acquire()
        try:
            sys.setswitchinterval(60)
            thread.start()
            ready.wait()
            go.release()
            rounds = 0
            while not ran.is_set() and rounds < 10_000:
                assert cache.keys("none*") == []
                rounds += 1
            assert ran.is_set()
        finally:
            sys.setswitchinterval(interval)
            thread.join()

    def test_lets_other_tasks_run_meanwhile(self, cache):
        cache.set_many(dict.fromkeys(map(str, range(SOME))))
        ran = []

        async def other():
            while True:
                ran.append(1)
                await asyncio.sleep(0)

        async def use():
            task = asyncio.ensure_future(other())
            counts = [len(await cache.akeys("none*")), await cache.adelete_pattern("none*")]
            task.cancel()
            return counts

        assert asyncio.run(use()) == [0, 0]
        assert len(ran) >= 2 * (SOME // 1024 - 1)

    def test_may_be_continued_within_the_reverse_function(self, make_cache):
        def reverse_and_take(stored):
            if iterators:
                taken.append(next(iterators.pop()))
            return stored

        cache = make_cache(
            KEY_FUNCTION=lambda key, prefix, version: key, REVERSE_KEY_FUNCTION=reverse_and_take
        )
        cache.set_many({"a": 1, "b": 2})
        taken = []
        keys = cache.iter_keys("*")
        iterators = [keys]
        assert sorted([*keys, *taken]) == ["a", "b"]
        assert len(taken) == 1

    def test_by_many_threads_yields_each_key_once(self, cache):
        """Who asks while another looks on is output so, as with a generator."""
        cache.set_many(dict.fromkeys(map(str, range(SOME))))
        keys = cache.iter_keys("*")
        taken, refused = [], []

        def take():
            while True:
                try:
                    taken.append(next(keys))
                except StopIteration:
                    return
                except ValueError as error:
                    refused.append(str(error))

        threads = [threading.Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(taken) == sorted(map(str, range(SOME)))
        assert set(refused) <= {"this iterator is in use by another thread"}


class TestDeletePattern:
    def test_deletes_matching_keys_and_counts_them(self, cache, delete):
        cache.set_many({"user:1": 1, "user:2": 2, "page:1": 3})
        assert delete(cache, "user:*") == 2
        assert cache.keys("*") == ["page:1"]
        assert delete(cache, "user:*") == 0
        assert cache.stats().deletes == 2

    def test_deletes_in_one_version_and_prefix(self, make_cache, delete):
        cache, other = (make_cache(LOCATION="deleting", KEY_PREFIX=prefix) for prefix in "ab")
        for one in (cache, other):
            one.set("key", 1)
            one.set("key", 2, version=2)
        assert delete(cache, "*", version=2) == 1
        assert delete(cache, "*") == 1
        assert (other.get("key"), other.get("key", version=2)) == (1, 2)

    def test_deletes_under_another_prefix(self, make_cache, delete):
        theirs = make_cache(LOCATION="patterns-prefix", KEY_PREFIX="theirs")
        mine = make_cache(LOCATION="patterns-prefix", KEY_PREFIX="mine")
        for cache in (mine, theirs):
            cache.set_many({"a1": 1, "a2": 2, "b": 3})
            cache.set("a1", 4, version=2)
        assert delete(mine, "a*", prefix="theirs") == 2
        assert mine.key_prefix == "mine"
        assert (sorted(mine.keys("*")), theirs.keys("*")) == (["a1", "a2", "b"], ["b"])
        assert delete(mine, "a*", prefix="theirs", version=2) == 1
        assert delete(mine, "*", prefix="", itersize=10) == 0
        assert sorted(mine.keys("*")) == ["a1", "a2", "b"]

    def test_deletes_under_another_prefix_made_by_a_function(self, make_cache, delete):
        functions = {"KEY_FUNCTION": key_at_end, "REVERSE_KEY_FUNCTION": reverse}
        mine, theirs = (
            make_cache(LOCATION="patterns-function", KEY_PREFIX=prefix, **functions)
            for prefix in ("mine", "theirs")
        )
        for cache in (mine, theirs):
            cache.set_many({"a": 1, "b": 2})
        assert delete(mine, "a", prefix="theirs") == 1
        assert (sorted(mine.keys("*")), theirs.keys("*")) == (["a", "b"], ["b"])

    def test_deletes_from_a_large_cache(self, cache, delete):
        cache.set_many({f"key{number}": number for number in range(SOME)})
        assert delete(cache, "key*7") == SOME // 10
        assert len(cache.keys("*")) == SOME - SOME // 10

    def test_does_not_count_expired_entries(self, make_cache, clock, delete):
        cache = make_cache(CLOCK=clock.path)
        cache.set("dead", 1, 5)
        clock.advance(5)
        assert delete(cache, "*") == 0

    def test_ends_the_computations_of_matching_keys_only(self, cache, delete):
        with leading(cache, "user:1") as (matching, leader), leading(cache, "page:1") as (other, _):
            assert delete(cache, "user:*") == 0
            (waiter,) = waiters(cache, 1, key="page:1")
            assert cache.get_or_set("user:1", lambda: "new") == "new"
            assert cache.stats().waits == 1
            matching.finish()
            other.finish()
            assert (leader.result, waiter.result) == ("new", "leader's")
        assert (cache.get("user:1"), cache.get("page:1")) == ("new", "leader's")

    def test_counts_an_entry_that_is_being_refreshed_once(self, cache, delete):
        cache.get_or_set("key", lambda: "old", 60, early=1)
        with leading(cache, early=1e15) as (computation, _):
            assert delete(cache, "*") == 1
            computation.finish()
        assert "key" not in cache

    def test_ends_computations_among_many_keys(self, cache, delete):
        cache.set_many({f"other{number}": number for number in range(SOME)})
        with contextlib.ExitStack() as leaders:
            computations = [leaders.enter_context(leading(cache, f"key{number}"))[0] for number in range(20)]
            assert delete(cache, "key*") == 0
            for computation in computations:
                computation.finish()
        assert cache.keys("key*") == []
        assert len(cache.keys("*")) == SOME

    def test_ends_a_computation_whose_key_a_function_made(self, make_cache, delete):
        cache = make_cache(KEY_FUNCTION=key_at_end, REVERSE_KEY_FUNCTION=reverse)
        with leading(cache) as (computation, _), leading(cache, "other") as (other, _):
            assert delete(cache, "k*") == 0
            computation.finish()
            other.finish()
        assert cache.keys("*") == ["other"]

    def test_deletes_old_values(self, make_cache, clock, delete):
        cache = make_cache(CLOCK=clock.path)
        for key in ("key", "other"):
            cache.get_or_set(key, lambda: "old", 5, stale=100)
        clock.advance(5)
        assert delete(cache, "k*") == 0
        with pytest.raises(ZeroDivisionError):
            cache.get_or_set("key", lambda: 1 / 0, 5, stale=100)
        assert cache.get_or_set("other", lambda: 1 / 0, 5, stale=100) == "old"

    @pytest.mark.filterwarnings("ignore:Cache key")
    def test_deletes_keys_that_memcached_would_refuse(self, cache, delete):
        cache.set("a key", 1)
        assert delete(cache, "a*") == 1

    def test_calls_an_overridden_delete(self, make_cache, delete):
        class Cache(LocalCache):
            def delete(self, key, version=None):
                deleted.append((key, version))
                return super().delete(key, version) and key != "silent"

        deleted = []
        cache = make_cache(backend=Cache)
        for key in ("a", "b", "silent"):
            cache.set(key, 1, version=2)
        assert delete(cache, "*", version=2) == 2
        assert sorted(deleted) == [("a", 2), ("b", 2), ("silent", 2)]


class TestKeyFunction:
    @pytest.fixture(params=["callable", "path"])
    def cache(self, request, make_cache):
        functions = {"KEY_FUNCTION": key_at_end}
        named = f"{__name__}.reverse" if request.param == "path" else reverse
        return make_cache(KEY_PREFIX="p", **functions, OPTIONS={"REVERSE_KEY_FUNCTION": named})

    def test_is_reversed(self, cache, delete):
        cache.set_many({"a": 1, "ab": 2, "b": 3})
        cache.set("a", 4, version=2)
        assert found(cache, "a*") == ["a", "ab"]
        assert found(cache, "*", version=2) == ["a"]
        assert delete(cache, "a*") == 2
        assert cache.get("a", version=2) == 4

    def test_of_other_handles_is_not_used(self, cache, make_cache):
        shared = {"LOCATION": "reversing", "KEY_FUNCTION": key_at_end}
        other = make_cache(**shared, KEY_PREFIX="other")
        mine = make_cache(**shared, KEY_PREFIX="mine", REVERSE_KEY_FUNCTION=reverse)
        other.set("a", 1)
        mine.set("b", 1)
        assert found(mine, "*") == ["b"]

    def test_reverse_may_be_a_setting_as_in_django_redis(self):
        settings = {
            "BACKEND": "nearcache.django.LocalCache",
            "LOCATION": "reverse beside",
            "KEY_FUNCTION": f"{__name__}.key_at_end",
            "REVERSE_KEY_FUNCTION": f"{__name__}.reverse",
        }
        cache = CacheHandler({"default": settings})["default"]
        cache.set("key", 1)
        assert found(cache, "*") == ["key"]

    @pytest.mark.parametrize("method", ["keys", "iter_keys", "delete_pattern"])
    def test_without_reverse_is_an_error_that_names_the_setting(self, make_cache, method):
        cache = make_cache(KEY_FUNCTION=key_at_end)
        cache.set("key", 1)
        with pytest.raises(
            ImproperlyConfigured, match=r"nearcache: .*has a KEY_FUNCTION, so it needs a REVERSE_KEY_FUNCTION"
        ):
            getattr(cache, method)("*")
        assert "key" in cache

    @pytest.mark.parametrize("name", ["make_key", "make_and_validate_key"])
    def test_of_a_subclass_without_reverse_is_an_error(self, make_cache, name):
        maker = {name: lambda self, key, version=None: f"mine:{key}"}
        cache = make_cache(backend=type("Cache", (LocalCache,), maker))
        with pytest.raises(ImproperlyConfigured, match=rf"Cache.* has a {name} of its own.*reverse_key_func"):
            cache.keys("*")

    @pytest.mark.parametrize("name", ["make_key", "make_and_validate_key"])
    def test_of_a_subclass_is_reversed_by_its_method(self, make_cache, delete, name):
        class Cache(LocalCache):
            def reverse_key_func(self, stored):
                return stored.removeprefix("mine:")

        setattr(Cache, name, lambda self, key, version=None: f"mine:{key}")
        cache = make_cache(backend=Cache)
        cache.set_many({"a": 1, "b": 2})
        assert found(cache, "*") == ["a", "b"]
        assert delete(cache, "a") == 1
        assert cache.keys("*") == ["b"]

    def test_error_of_reverse_is_raised(self, make_cache):
        cache = make_cache(KEY_FUNCTION=key_at_end, OPTIONS={"REVERSE_KEY_FUNCTION": shouting})
        cache.set("key", 1)
        with pytest.raises(LookupError, match="key@@1"):
            cache.keys("*")

    def test_reverse_has_to_return_a_str(self, make_cache):
        cache = make_cache(KEY_FUNCTION=key_at_end, OPTIONS={"REVERSE_KEY_FUNCTION": len})
        cache.set("key", 1)
        with pytest.raises(
            TypeError, match=r"REVERSE_KEY_FUNCTION must return a str, but for 'key@@1' it returned 6"
        ):
            cache.keys("*")

    @pytest.mark.parametrize(
        ("bad", "message"),
        [
            (5, r"REVERSE_KEY_FUNCTION is 5; expected a function"),
            ("nowhere.to.be.found", r"REVERSE_KEY_FUNCTION is 'nowhere.*cannot be imported"),
            ("sys.version", r"REVERSE_KEY_FUNCTION is 'sys.version'; expected a function"),
        ],
    )
    def test_bad_reverse_is_refused_at_once(self, make_cache, bad, message):
        with pytest.raises(ImproperlyConfigured, match=message):
            make_cache(REVERSE_KEY_FUNCTION=bad)


class TestOverridden:
    def test_iter_keys_is_used_by_keys_and_the_asynchronous_methods(self, make_cache):
        class Cache(LocalCache):
            def iter_keys(self, search, itersize=None, version=None):
                return iter(["mine", search])

        cache = make_cache(backend=Cache)
        assert found(cache, "x") == ["mine", "x"]

    def test_keys_and_delete_pattern_are_used_by_their_asynchronous_variants(self, cache):
        cache.keys = lambda search, version=None: [search]
        cache.delete_pattern = lambda pattern, version=None, itersize=None: 42
        assert asyncio.run(cache.akeys("a")) == ["a"]
        assert asyncio.run(cache.adelete_pattern("a")) == 42
