"""Waiting for the server in an event loop: other tasks run, and nothing is left behind."""

import asyncio
import gc
import logging
import threading
import time

import pytest
from asgiref.sync import async_to_sync

from nearcache.django import tiered_methods
from nearcache.django.errors import RemoteConnectionError, RemoteError, RemoteTimeoutError
from support.redis_servers.messages import REPLY, REQUEST
from support.redis_servers.proxy import Proxy
from support.redis_servers.rules import is_data
from support.redis_servers.waiting import wait_until
from support.tiered import descriptors, tiered

LATENCY = 0.05
MANY = 100


@pytest.fixture
def slow(server):
    """Return a proxy whose replies take 50 ms."""
    with Proxy(server.address, latency=LATENCY) as proxy:
        yield proxy


@pytest.fixture
def far(slow):
    """Return a cache without near copies, on the slow server."""
    return tiered(slow.url, NEAR=None)


@pytest.fixture
def cache(proxied):
    """Return a cache on a server behind a proxy, whose near tier works."""
    cache = tiered(proxied.url)
    cache.set("first", 1)
    wait_until(lambda: cache.get("first") and cache.stats().remote.near_hits, "there is a near copy")
    return cache


async def heartbeat(ticks):
    while True:
        ticks.append(time.monotonic())
        await asyncio.sleep(0.002)


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    """Return a function that runs a coroutine in a new event loop."""
    return pytest.importorskip(request.param).run


class TestLoop:
    def test_runs_on_during_every_operation(self, far, run):
        async def use(operation):
            ticks = []
            beating = asyncio.create_task(heartbeat(ticks))
            await asyncio.sleep(0)
            await operation()
            beating.cancel()
            return len(ticks)

        async def keys():
            return [key async for key in far.aiter_keys("*")]

        async def lock():
            async with far.alock("lock", timeout=9) as lock:
                assert await lock.owned()
                assert await lock.locked()
                await lock.extend(5)
                await lock.reacquire()

        operations = [
            *(lambda: far.aget("a"), lambda: far.aset("a", 1), lambda: far.aadd("a", 1)),
            *(lambda: far.aget_many(["a", "b"]), lambda: far.aset_many({"a": 1, "b": 2})),
            *(
                lambda: far.aincr("a"),
                lambda: far.atouch("a"),
                lambda: far.ahas_key("a"),
                lambda: far.attl("a"),
            ),
            *(lambda: far.adelete("a"), lambda: far.adelete_many(["a", "b"])),
            *(lambda: far.aget_or_set("a", 1), lambda: far.aincr_version("a"), keys, lambda: far.akeys("*")),
            *(lambda: far.adelete_pattern("*"), far.aclear, lock),
        ]

        async def use_all():
            return [await use(operation) for operation in operations]

        # An answer takes 25 ticks, on a busy machine fewer. One tick is there if the loop was blocked.
        assert [ticks for ticks in run(use_all()) if ticks < 3] == []

    def test_many_wait_together(self, far, slow, run):
        async def use():
            with slow.hold(REPLY, command=b"GET"), slow.watch(REQUEST, command=b"GET") as asked:
                getting = [asyncio.create_task(far.aget(f"key{number}", number)) for number in range(MANY)]
                # All requests arrive while none was answered.
                await asyncio.to_thread(asked.wait_seen, MANY)
            return await asyncio.gather(*getting)

        assert run(use()) == list(range(MANY))

    def test_exceptions_reach_the_awaiting_task(self, cache, server, run):
        async def use():
            await cache.aset("text", "text")
            with pytest.raises(ValueError, match="missing' not found"):
                await cache.aincr("missing")
            with pytest.raises(RemoteError, match="ERR value is not an integer"):
                await cache.aincr("text")
            server.command("LPUSH", ":1:list", "a")
            with pytest.raises(RemoteError, match="WRONGTYPE"):
                await cache.aget("list")
            with pytest.raises(TypeError):
                await cache.aset("lock", threading.Lock())
            return await cache.aget("text")

        assert run(use()) == "text"

    def test_ends_with_requests_in_flight(self, cache, proxied, run):
        async def use():
            cache._forgotten = [asyncio.create_task(cache.aget(f"key{number}")) for number in range(MANY)]
            await asyncio.to_thread(asked.wait_seen, MANY)

        with proxied.hold(REPLY, command=b"GET"), proxied.watch(REQUEST, command=b"GET") as asked:
            run(use())
        assert all(task.cancelled() for task in cache._forgotten)
        del cache._forgotten
        assert run(cache.aget("first")) == 1

    def test_closed_loops_leave_no_descriptors(self, cache, proxied, run):
        async def use(held):
            asyncio.ensure_future(cache.aget("key"))  # noqa: RUF006 (nobody waits for it)
            await asyncio.to_thread(held.wait_seen, 1)

        def abandon_one():
            with proxied.hold(REPLY, command=b"GET", where=is_data) as held:
                run(use(held))
            run(cache.aget("key"))

        abandon_one()
        gc.collect()
        before = descriptors()
        for _ in range(20):
            abandon_one()
        gc.collect()
        assert descriptors() <= before + 4
        assert len(tiered_methods._COMPLETIONS) <= 2


class TestCancellation:
    def test_near_copy_of_a_cancelled_write_is_invalidated(self, cache, proxied, server):
        async def use():
            assert await cache.aget("first") == 1
            with proxied.hold(REQUEST, command=b"SET", where=is_data) as held:
                writing = asyncio.create_task(cache.aset("first", 2))
                await asyncio.to_thread(held.wait_seen)
                writing.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await writing
            await asyncio.to_thread(wait_until, lambda: server.command("GET", ":1:first") == b"2", "written")
            while await cache.aget("first") == 1:
                await asyncio.sleep(0.001)
            return await cache.aget("first")

        assert asyncio.run(asyncio.wait_for(use(), 10)) == 2

    def test_other_tasks_get_their_own_replies(self, cache, proxied):
        cache.set_many({f"key{number}": number for number in range(MANY)})

        async def use():
            with proxied.hold(REPLY, where=is_data) as held:
                getting = [asyncio.create_task(cache.aget(f"key{number}")) for number in range(MANY)]
                await asyncio.to_thread(held.wait_seen)
                for task in getting[::2]:
                    task.cancel()
            return await asyncio.gather(*getting, return_exceptions=True)

        found = asyncio.run(use())
        assert found[1::2] == list(range(1, MANY, 2))
        assert all(isinstance(result, asyncio.CancelledError) for result in found[::2])

    def test_leaves_nothing(self, cache, proxied):
        async def cancel_one(held):
            getting = asyncio.create_task(cache.aget("key"))
            await asyncio.to_thread(held.wait_seen, held.seen + 1)
            getting.cancel()
            await asyncio.gather(getting, return_exceptions=True)

        async def use():
            with proxied.watch(REQUEST, command=b"GET", where=is_data) as seen:
                await cancel_one(seen)
                await cache.aget("key")
                before = descriptors(), proxied.accepted
                for _ in range(MANY):
                    await cancel_one(seen)
                await cache.aget("key")
            return before, (descriptors(), proxied.accepted)

        before, after = asyncio.run(use())
        assert after == before

    @pytest.mark.skipif(not hasattr(asyncio, "timeout"), reason="asyncio.timeout is new in Python 3.11")
    def test_by_a_timeout_is_a_timeout_error(self, cache, proxied):
        async def use():
            with proxied.hold(REPLY, command=b"GET", where=is_data):
                with pytest.raises(TimeoutError) as raised:
                    async with asyncio.timeout(0.05):
                        await cache.aget("key")
                assert not isinstance(raised.value, RemoteError)
            return await cache.aget("first")

        assert asyncio.run(use()) == 1

    def test_of_acquiring_leaves_no_lock(self, cache, proxied, server):
        async def use():
            with proxied.hold(REPLY, command=b"SET", where=is_data) as held:
                acquiring = asyncio.create_task(cache.alock("lock").acquire())
                await asyncio.to_thread(held.wait_seen)
                assert server.command("EXISTS", ":1:lock") == 1
                acquiring.cancel()
                await asyncio.gather(acquiring, return_exceptions=True)
            await asyncio.to_thread(wait_until, lambda: not server.command("EXISTS", ":1:lock"), "released")
            async with cache.alock("lock", blocking_timeout=1):
                pass

        asyncio.run(use())


class TestLock:
    def test_excludes_tasks_and_threads(self, cache):
        held, most = 0, 0

        async def work():
            nonlocal held, most
            async with cache.alock("lock", sleep=0.001, timeout=20):
                held += 1
                most = max(most, held)
                await asyncio.sleep(0.002)
                held -= 1

        async def use():
            await asyncio.gather(*(work() for _ in range(10)))

        threads = [threading.Thread(target=asyncio.run, args=(use(),)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (held, most) == (0, 1)
        assert not cache.has_key("lock")


class TestManyLoops:
    def test_in_many_threads(self, cache):
        found = []

        async def use(name):
            for number in range(50):
                await cache.aset(f"{name}-{number % 5}", number)
                found.append(await cache.aget(f"{name}-{number % 5}") == number)

        async def use_tasks(name):
            await asyncio.gather(*(use(f"{name}-{task}") for task in range(5)))

        threads = [threading.Thread(target=asyncio.run, args=(use_tasks(name),)) for name in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 2500
        assert all(found)

    def test_of_async_to_sync_leave_no_descriptors(self, cache):
        get = async_to_sync(cache.aget)
        assert get("missing") is None
        gc.collect()
        before = descriptors()
        for _ in range(MANY):
            assert get("missing") is None
        gc.collect()
        assert descriptors() <= before + 2
        gc.collect()
        assert len(tiered_methods._COMPLETIONS) <= 2


class TestOutage:
    def test_errors_are_raised_in_the_task(self, server):
        with Proxy(server.address) as proxy:
            cache = tiered(proxy.url, NEAR=None, SOCKET_TIMEOUT=0.3)
            address = f"127.0.0.1:{proxy.port}"

            async def use():
                await cache.aset("a", 1)
                with proxy.silence(), pytest.raises(RemoteTimeoutError, match=address):
                    await cache.aget("a")
                # Until the breaker lets the next request through.
                await asyncio.sleep(0.1)
                with proxy.refused():
                    proxy.cut()
                    with pytest.raises(RemoteConnectionError, match=address):
                        await cache.aget("a")
                await asyncio.sleep(0.6)
                return await cache.aget("a")

            assert asyncio.run(use()) == 1

    def test_nobody_is_told_of_an_error_that_nobody_waits_for(self, cache, proxied, caplog):
        async def use():
            task = asyncio.create_task(cache.aget("key"))
            await asyncio.to_thread(held.wait_seen)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            proxied.cut(is_data)
            await asyncio.sleep(0.05)
            gc.collect()

        with (
            caplog.at_level(logging.ERROR, "asyncio"),
            proxied.hold(REPLY, command=b"GET", where=is_data) as held,
        ):
            asyncio.run(use())
        assert caplog.text == ""
