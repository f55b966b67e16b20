"""Locks: ownership, timeouts, waiting, and locks that are lost."""

import asyncio
import math
import threading
import time

import pytest

from nearcache.django import AsyncLock, LocalCache, Lock, LockError, LockNotOwnedError

HUGE = 10**400


@pytest.fixture
def cache(make_cache, clock):
    """Return a cache whose time stands still."""
    return make_cache(CLOCK=clock.path)


class Synchronous:
    """Calls an asynchronous lock as if it were a synchronous one, so that both take the same tests."""

    def __init__(self, lock):
        self.lock = lock

    def __getattr__(self, name):
        def call(*arguments, **by_name):
            return asyncio.run(getattr(self.lock, name)(*arguments, **by_name))

        return call

    def __enter__(self):
        asyncio.run(self.lock.__aenter__())
        return self

    def __exit__(self, *error):
        asyncio.run(self.lock.__aexit__(*error))


@pytest.fixture(params=["lock", "alock"])
def make_lock(request, cache):
    """Return a function that makes locks of the cache: plain ones, and asynchronous ones made plain."""

    def make(*arguments, on=cache, **by_name):
        lock = getattr(on, request.param)(*arguments, **by_name)
        return lock if request.param == "lock" else Synchronous(lock)

    return make


class TestLock:
    def test_is_held_within_the_block(self, make_lock):
        lock = make_lock("key")
        assert not lock.locked()
        with lock:
            assert lock.locked()
            assert lock.owned()
        assert not lock.locked()
        assert not lock.owned()

    def test_is_held_by_one(self, make_lock):
        mine, other = make_lock("key"), make_lock("key")
        assert mine.acquire() is True
        assert other.acquire(blocking=False) is False
        assert (mine.owned(), other.owned(), other.locked()) == (True, False, True)
        mine.release()
        assert other.acquire(blocking=False) is True

    def test_is_released_if_the_block_raises(self, make_lock):
        lock = make_lock("key")

        def fail():
            with lock:
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        assert not lock.locked()

    def test_can_be_acquired_repeatedly(self, make_lock):
        lock = make_lock("key")
        for _ in range(3):
            with lock:
                assert lock.owned()

    def test_is_not_reentrant(self, make_lock):
        lock = make_lock("key", blocking=False)
        with lock:
            assert lock.acquire() is False
            assert lock.owned()

    def test_is_separate_for_other_keys_and_versions(self, make_lock):
        locks = [make_lock("a"), make_lock("b"), make_lock("a", 2), make_lock("a", version=3)]
        assert all(lock.acquire(blocking=False) for lock in locks)

    def test_is_an_entry_under_its_key(self, cache, make_lock):
        with make_lock("key", timeout=5):
            assert cache.keys("*") == ["key"]
            assert cache.ttl("key") == 5
        assert "key" not in cache

    def test_cannot_be_acquired_while_its_key_has_a_value(self, cache, make_lock):
        cache.set("key", "value")
        assert make_lock("key").acquire(blocking=False) is False
        assert cache.get("key") == "value"

    def test_without_timeout_never_ends(self, cache, clock, make_lock):
        lock = make_lock("key")
        lock.acquire()
        assert cache.ttl("key") is None
        clock.advance(10**9)
        assert lock.owned()

    def test_does_not_count_as_a_read(self, cache, make_lock):
        with make_lock("key") as lock:
            lock.owned()
            lock.locked()
        assert (cache.stats().hits, cache.stats().misses) == (0, 0)

    def test_has_a_repr(self, cache):
        assert repr(cache.lock("key", timeout=5)) == "<Lock 'key' timeout=5.0>"
        assert repr(cache.alock("key")) == "<AsyncLock 'key' timeout=None>"

    def test_has_the_type_for_its_methods(self, cache):
        assert type(cache.lock("key")) is Lock
        assert type(cache.alock("key")) is AsyncLock

    def test_uses_the_key_function(self, make_cache, make_lock):
        cache = make_cache(KEY_FUNCTION=lambda key, prefix, version: "same")
        with make_lock("a", on=cache):
            assert not make_lock("b", on=cache).acquire(blocking=False)

    def test_takes_django_redis_s_arguments_in_order(self, cache):
        lock = cache.lock("key", 2, 10, 0.5, False, 3, False)
        assert (lock.version, lock.timeout, lock.sleep) == (2, 10, 0.5)
        assert (lock.blocking, lock.blocking_timeout) == (False, 3)


class TestLostLock:
    def test_that_expired_can_be_acquired_by_another(self, clock, make_lock):
        mine, other = make_lock("key", timeout=5), make_lock("key", timeout=50)
        mine.acquire()
        clock.advance(5)
        assert not mine.owned()
        assert other.acquire(blocking=False)
        with pytest.raises(
            LockNotOwnedError, match=r"cannot release the lock 'key': it has expired or was evicted"
        ):
            mine.release()
        assert other.owned()
        other.release()

    def test_that_expired_cannot_be_released_or_extended(self, clock, make_lock):
        lock = make_lock("key", timeout=5)
        lock.acquire()
        clock.advance(5)
        with pytest.raises(LockNotOwnedError, match="cannot extend the lock 'key'"):
            lock.extend(5)
        with pytest.raises(LockNotOwnedError, match="cannot extend the lock 'key'"):
            lock.reacquire()
        with pytest.raises(LockNotOwnedError, match="cannot release the lock 'key'"):
            lock.release()
        with pytest.raises(LockError, match="not acquired by this caller"):
            lock.release()

    def test_raises_at_the_end_of_the_block(self, clock, make_lock):
        def outlast():
            with make_lock("key", timeout=5):
                clock.advance(5)

        with pytest.raises(LockNotOwnedError):
            outlast()

    @pytest.mark.parametrize(
        "lose",
        [
            lambda cache: cache.clear(),
            lambda cache: cache.delete("key"),
            lambda cache: cache.set("key", "value"),
            lambda cache: cache.set("key", ["0" * 32]),
            lambda cache: cache.delete_pattern("*"),
            lambda cache: cache.expire("key", 0),
        ],
        ids=["clear", "delete", "set", "set a list", "delete_pattern", "expire"],
    )
    def test_was_deleted(self, cache, make_lock, lose):
        lock = make_lock("key")
        lock.acquire()
        lose(cache)
        assert not lock.owned()
        with pytest.raises(LockNotOwnedError, match="evicted, deleted or overwritten"):
            lock.release()

    @pytest.mark.local_only("bounds of entries")
    def test_was_evicted(self, make_cache, make_lock):
        cache = make_cache(MAX_ENTRIES=1)
        lock = make_lock("key", on=cache)
        lock.acquire()
        cache.set("other", 1)
        assert make_lock("key", on=cache).acquire(blocking=False)
        with pytest.raises(LockNotOwnedError, match="evicted"):
            lock.release()

    def test_leaves_a_value_that_another_stored(self, cache, make_lock):
        lock = make_lock("key")
        lock.acquire()
        cache.set("key", "value")
        with pytest.raises(LockNotOwnedError):
            lock.release()
        assert cache.get("key") == "value"

    def test_that_was_never_held_cannot_be_released(self, make_lock):
        lock, other = make_lock("key", timeout=5), make_lock("key")
        with other:
            for method in (lock.release, lock.reacquire, lambda: lock.extend(5)):
                with pytest.raises(
                    LockError, match=r"the lock 'key': it was not acquired by this caller"
                ) as caught:
                    method()
                assert type(caught.value) is LockError
            assert other.owned()

    def test_errors_have_a_common_base(self):
        assert issubclass(LockNotOwnedError, LockError)


class TestTokens:
    def test_given_to_acquire_holds_the_lock(self, cache, make_lock):
        lock = make_lock("key", timeout=5)
        assert lock.acquire(token="mine")
        assert cache._holds("key", "mine", None)
        assert lock.owned()
        assert lock.extend(5)
        lock.release()
        assert "key" not in cache

    @pytest.mark.parametrize("kind", ["lock", "alock"])
    @pytest.mark.parametrize(
        ("token", "known"), [("mine", "mine"), ("mine", b"mine"), (b"mine", "mine"), (b"\xff", b"\xff")]
    )
    def test_may_be_passed_to_another_lock(self, cache, kind, token, known):
        def done(result):
            return asyncio.run(result) if asyncio.iscoroutine(result) else result

        one, other = getattr(cache, kind)("key"), getattr(cache, kind)("key")
        assert one.local.token is None
        assert done(one.acquire(token=token))
        other.local.token = known
        assert done(other.owned())
        done(other.release())
        assert other.local.token is None
        with pytest.raises(LockNotOwnedError):
            done(one.release())

    def test_used_by_another_lock_does_not_own_it(self, make_lock):
        one, other = make_lock("key"), make_lock("key")
        one.acquire(token="mine")
        assert not other.acquire(token="mine", blocking=False)
        with pytest.raises(LockError, match="not acquired by this caller"):
            other.release()
        assert one.owned()

    @pytest.mark.parametrize("token", [5, True, ["mine"], object()], ids=str)
    def test_of_a_wrong_type_is_refused(self, cache, make_lock, token):
        with pytest.raises(TypeError, match=r"token is .*; expected str or bytes"):
            make_lock("key").acquire(token=token)
        assert "key" not in cache


class TestExtension:
    def test_is_added_to_the_remaining_time(self, cache, clock, make_lock):
        lock = make_lock("key", timeout=10)
        lock.acquire()
        clock.advance(4)
        assert lock.extend(5) is True
        assert cache.ttl("key") == 11

    def test_may_replace_the_remaining_time(self, cache, clock, make_lock):
        lock = make_lock("key", timeout=10)
        lock.acquire()
        clock.advance(4)
        assert lock.extend(5, replace_ttl=True) is True
        assert cache.ttl("key") == 5

    def test_by_reacquire_restarts_the_timeout(self, cache, clock, make_lock):
        lock = make_lock("key", timeout=10)
        lock.acquire()
        clock.advance(4)
        assert lock.reacquire() is True
        assert cache.ttl("key") == 10

    def test_of_a_lock_without_timeout_is_an_error(self, make_lock):
        lock = make_lock("key")
        lock.acquire()
        for method in (lock.reacquire, lambda: lock.extend(5)):
            with pytest.raises(LockError, match="it has no timeout"):
                method()
        assert lock.owned()

    def test_of_a_persisted_lock_keeps_it_persistent(self, cache, make_lock):
        lock = make_lock("key", timeout=10)
        lock.acquire()
        cache.persist("key")
        lock.extend(5)
        assert cache.ttl("key") is None
        lock.release()


class TestWaiting:
    def test_ends_when_the_lock_is_released(self, make_cache, make_lock):
        class Cache(LocalCache):
            def _acquire(self, *arguments):
                taken = super()._acquire(*arguments)
                if not taken:
                    in_vain.append(1)
                    if len(in_vain) == 3:
                        holder.release()
                return taken

        in_vain = []
        cache = make_cache(backend=Cache)
        holder = cache.lock("key")
        holder.acquire()
        with make_lock("key", on=cache, sleep=0.001) as lock:
            assert lock.owned()
        assert len(in_vain) == 3

    def test_ends_when_the_lock_expires(self, make_cache, make_lock):
        cache = make_cache()
        cache.lock("key", timeout=0.05).acquire()
        assert make_lock("key", on=cache, sleep=0.005).acquire() is True

    def test_ends_after_the_blocking_timeout(self, make_lock):
        make_lock("key").acquire()
        assert make_lock("key", sleep=0.001, blocking_timeout=0.01).acquire() is False
        assert make_lock("key", sleep=0.001).acquire(blocking_timeout=0.01) is False
        assert make_lock("key", sleep=50).acquire(sleep=0.001, blocking_timeout=0.01) is False

    def test_is_limited_by_the_blocking_timeout_even_with_a_longer_sleep(self, make_lock):
        make_lock("key").acquire()
        assert make_lock("key", sleep=10_000, blocking_timeout=0.01).acquire() is False

    def test_with_blocking_timeout_zero_tries_once(self, make_lock):
        assert make_lock("key", blocking_timeout=0).acquire() is True
        assert make_lock("key", blocking_timeout=0).acquire() is False

    def test_without_success_raises_from_the_block(self, make_lock):
        make_lock("key").acquire()
        for options in ({"blocking": False}, {"sleep": 0.001, "blocking_timeout": 0.01}):
            with pytest.raises(LockError, match="could not acquire the lock 'key' in time") as caught:
                make_lock("key", **options).__enter__()
            assert type(caught.value) is LockError

    def test_may_be_requested_by_acquire(self, make_lock):
        make_lock("key").acquire()
        lock = make_lock("key", blocking=False)
        assert lock.acquire() is False
        assert lock.acquire(blocking=True, blocking_timeout=0.01) is False

    @pytest.mark.local_only("the least that MAX_MEMORY can be")
    @pytest.mark.filterwarnings("ignore:Cache key")
    def test_for_a_lock_without_room_is_an_error(self, make_cache, make_lock):
        cache = make_cache(MAX_MEMORY=1024, KEY_FUNCTION=lambda key, prefix, version: key * 1000)
        with pytest.raises(ValueError, match="no room for this lock: the value weighs"):
            make_lock("key", on=cache).acquire()


class TestThreads:
    def test_exclude_each_other(self, make_cache):
        cache = make_cache()
        inside, most, done = [], [], []

        def work():
            for _ in range(20):
                with cache.lock("key", sleep=0.0005):
                    inside.append(1)
                    most.append(len(inside))
                    time.sleep(0)
                    inside.pop()
            done.append(1)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(done) == 8
        assert set(most) == {1}
        assert len(most) == 160

    @staticmethod
    def in_a_thread(function):
        outcome = []

        def run():
            try:
                outcome.append(function())
            except LockError as error:
                outcome.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        return outcome[0]

    def test_do_not_release_a_lock_of_another(self, cache):
        lock = cache.lock("key")
        lock.acquire()
        assert self.in_a_thread(lock.owned) is False
        assert "not acquired by this caller" in str(self.in_a_thread(lock.release))
        assert lock.owned()

    def test_may_hand_over_a_lock_that_is_not_thread_local(self, cache):
        lock = cache.lock("key", thread_local=False)
        lock.acquire()
        assert self.in_a_thread(lock.owned) is True
        assert self.in_a_thread(lock.release) is None
        assert not lock.locked()

    def test_may_hand_over_an_asynchronous_lock(self, cache):
        lock = cache.alock("key")
        asyncio.run(lock.acquire())
        assert self.in_a_thread(lambda: asyncio.run(lock.release())) is None
        assert "key" not in cache


class TestTasks:
    def test_exclude_each_other_while_other_tasks_run(self, make_cache):
        cache = make_cache()
        inside, most = [], []

        async def work():
            for _ in range(5):
                async with cache.alock("key", sleep=0.0005):
                    inside.append(1)
                    most.append(len(inside))
                    await asyncio.sleep(0)
                    inside.pop()

        async def use():
            await asyncio.gather(*(work() for _ in range(8)))

        asyncio.run(use())
        assert set(most) == {1}
        assert len(most) == 40

    def test_cancelled_while_waiting_hold_no_lock(self, cache):
        async def use():
            async with cache.alock("key"):
                task = asyncio.ensure_future(cache.alock("key").acquire())
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert "key" not in cache

        asyncio.run(use())

    def test_cancelled_within_the_block_release_it(self, cache):
        async def hold():
            async with cache.alock("key"):
                await asyncio.Event().wait()

        async def use():
            task = asyncio.ensure_future(hold())
            await asyncio.sleep(0)
            assert "key" in cache
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(use())
        assert "key" not in cache


class TestBadTimes:
    @pytest.mark.parametrize("name", ["timeout", "sleep", "blocking_timeout"])
    @pytest.mark.parametrize("bad", ["5", b"5", True, object(), [], 1j], ids=lambda bad: type(bad).__name__)
    def test_of_a_wrong_type(self, make_lock, name, bad):
        with pytest.raises(TypeError, match=rf"{name} is .*; expected a number of seconds, "):
            make_lock("key", **{name: bad})

    @pytest.mark.parametrize("name", ["timeout", "sleep", "blocking_timeout"])
    @pytest.mark.parametrize("bad", [-1, -0.001, math.nan, math.inf, -math.inf, HUGE])
    def test_that_are_impossible(self, make_lock, name, bad):
        with pytest.raises(ValueError, match=rf"{name} is .*; expected a number of seconds, "):
            make_lock("key", **{name: bad})

    def test_timeout_of_nothing(self, make_lock):
        with pytest.raises(ValueError, match=r"timeout is 0\.0; expected a number of seconds, more than 0"):
            make_lock("key", timeout=0)

    @pytest.mark.parametrize("name", ["sleep", "blocking_timeout"])
    def test_given_to_acquire(self, cache, make_lock, name):
        lock = make_lock("key")
        with pytest.raises(ValueError, match=rf"{name} is .*; expected"):
            lock.acquire(**{name: -1})
        with pytest.raises(TypeError, match=rf"{name} is .*; expected"):
            lock.acquire(**{name: "soon"})
        assert "key" not in cache

    @pytest.mark.parametrize(
        ("bad", "error"), [(0, ValueError), (-1, ValueError), ("1", TypeError), (None, TypeError)]
    )
    def test_given_to_extend(self, cache, make_lock, bad, error):
        lock = make_lock("key", timeout=5)
        lock.acquire()
        with pytest.raises(error, match=r"additional_time is .*; expected a number of seconds, more than 0"):
            lock.extend(bad)
        assert cache.ttl("key") == 5
