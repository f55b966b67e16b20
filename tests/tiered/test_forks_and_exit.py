"""Forks, threads and the end of the interpreter: connections, listener and runtime of each process."""

import textwrap
import threading

import pytest

from support.isolated import run, start
from support.programs import Gunicorn
from support.redis_servers.binaries import flavours
from support.redis_servers.messages import REQUEST
from support.redis_servers.proxy import Proxy
from support.redis_servers.rules import is_data, is_listener
from support.redis_servers.waiting import wait_until
from support.tiered import tiered

pytestmark = pytest.mark.skipif(not flavours(), reason="no Redis or Valkey server is installed")

PROGRAM = """
    import asyncio, json, multiprocessing, os, sys, threading, time
    import django
    from django.conf import settings
    settings.configure(CACHES={"default": {
        "BACKEND": "nearcache.django.TieredCache", "LOCATION": sys.argv[1],
    }})
    django.setup()
    from django.core.cache import caches

    cache = caches["default"]

    def use_near():
        '''Use the cache until a near copy is served.'''
        before = cache.stats().remote.near_hits
        end = time.monotonic() + 20
        while cache.stats().remote.near_hits == before and time.monotonic() < end:
            assert cache.get("key") == 1
            time.sleep(0.001)
        assert cache.stats().remote.near_hits > before

    def use():
        '''Use connections, listener and runtime.'''
        cache.set("key", 1)
        use_near()
        assert asyncio.run(cache.aget("other", 2)) == 2

    def in_child(function):
        '''Run a function in a child of `fork`; return its exit status, 0 if it returned.'''
        child = os.fork()
        if child == 0:
            try:
                function()
                os._exit(0)
            except BaseException:
                import traceback
                traceback.print_exc()
                os._exit(1)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""


def source(program):
    return textwrap.dedent(PROGRAM) + textwrap.dedent(program)


class TestFork:
    def test_child_has_its_own_connections_and_listener(self, server):
        with Proxy(server.address) as proxy:
            program = """
                use()
                assert in_child(use) == 0
                use_near()
            """
            with proxy.watch(REQUEST, command=b"CLIENT TRACKING") as trackings:
                before = proxy.accepted
                run("-c", source(program), proxy.url)
            # Each process connects for threads, for tasks, and for the listener.
            assert trackings.seen == 2
            assert proxy.accepted - before == 6

    def test_parent_goes_on_with_its_connections(self, server):
        program = """
            use()
            before = cache.stats().remote
            assert in_child(use) == 0
            assert in_child(lambda: None) == 0
            use()
            after = cache.stats().remote
            assert (after.reconnects, after.losses) == (before.reconnects, before.losses)
            assert after.connections == before.connections
        """
        run("-c", source(program), server.url)

    def test_child_does_not_keep_the_parents_connections_open(self, server):
        program = """
            use()
            pid = os.fork()
            if pid == 0:
                use()
                print(os.getpid(), flush=True)
                sys.stdin.read()
                os._exit(0)
            os._exit(0)
        """
        with Proxy(server.address) as proxy:
            before = len(proxy.connections)
            finished, output, errors = start("-c", source(program), proxy.url)
            assert (finished.returncode, errors) == (0, "")
            assert output.strip().isdigit()
            wait_until(lambda: len(proxy.connections) == before, "the connections of both are closed")

    def test_while_requests_are_in_flight(self, server):
        program = """
            use()
            stopped = threading.Event()
            wrong = []

            def hammer(name):
                number = 0
                while not stopped.is_set():
                    number += 1
                    cache.set(name, number)
                    if cache.get(name) != number:
                        wrong.append(name)

            async def hammer_async(name):
                number = 0
                while not stopped.is_set():
                    number += 1
                    await cache.aset(name, number)
                    if await cache.aget(name) != number:
                        wrong.append(name)

            threads = [threading.Thread(target=hammer, args=(f"thread{n}",)) for n in range(4)]
            threads += [threading.Thread(target=lambda: asyncio.run(hammer_async("task")))]
            for thread in threads:
                thread.start()

            def child():
                use()
                for number in range(50):
                    cache.set("child", number)
                    assert cache.get("child") == number

            results = [in_child(child) for _ in range(20)]
            stopped.set()
            for thread in threads:
                thread.join()
            assert results == [0] * 20
            assert wrong == []
        """
        run("-c", source(program), server.url)

    def test_reply_that_the_parent_waits_for_stays_the_parents(self, server):
        server.command("SET", ":1:held", 7)
        with Proxy(server.address) as proxy:
            program = """
                use()
                found = []
                waiting = threading.Thread(target=lambda: found.append(cache.get("held")))
                waiting.start()
                print("waiting", flush=True)
                time.sleep(0.2)
                assert in_child(use) == 0
                waiting.join()
                assert found == [7], found
            """

            def delay(message):
                if b":1:held" in message.data:
                    threading.Event().wait(1)

            with proxy.on_request(b"GET", delay):
                run("-c", source(program), proxy.url)

    @pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
    def test_multiprocessing(self, method, server, tmp_path):
        (tmp_path / "work.py").write_text(
            source("""
                def work(number):
                    use()
                    cache.set(f"worker{number}", number)
                    return cache.get(f"worker{number}")

                if __name__ == "__main__":
                    use()
                    with multiprocessing.get_context(sys.argv[2]).Pool(3) as pool:
                        assert pool.map(work, range(30)) == list(range(30))
                    use()
            """)
        )
        run(str(tmp_path / "work.py"), server.url, method)


class TestThreads:
    @pytest.mark.parametrize("near", [None, "local"])
    def test_many_share_few_connections(self, near, proxied):
        # The threads do not queue for a connection: on a busy machine one may wait for more than two seconds.
        cache = tiered(proxied.url, MAX_CONNECTIONS=4, NEAR=near, SOCKET_TIMEOUT=20)
        wrong, most = [], 0

        def work(name):
            nonlocal most
            for number in range(40):
                cache.set(f"thread{name}", number)
                if cache.get(f"thread{name}") != number:
                    wrong.append(name)
                most = max(most, sum(map(is_data, proxied.connections)))

        threads = [threading.Thread(target=work, args=(name,)) for name in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert cache.stats().remote.connections <= 4
        # The listener's own is among them until it has asked for invalidations.
        assert most <= 4 + (near is not None)


@pytest.mark.parametrize("options", [(), ("-X", "dev")], ids=["plain", "dev"])
class TestExit:
    """The interpreter ends at once, whatever runs in the extension module's threads."""

    def ends(self, program, url, options):
        finished, output, errors = start(*options, "-c", source(program), url)
        assert (finished.returncode, errors) == (0, "")
        assert output == "used\n"

    def test_with_listener_and_runtime(self, options, server):
        self.ends('use(); print("used", flush=True)', server.url, options)

    def test_with_a_request_in_flight(self, options, server):
        with Proxy(server.address) as proxy:
            program = """
                use()

                async def abandon():
                    task = asyncio.create_task(cache.aget("held"))
                    await asyncio.sleep(0.05)

                threading.Thread(target=lambda: cache.get("held"), daemon=True).start()
                asyncio.run(abandon())
                print("used", flush=True)
            """

            def delay(message):
                if b":1:held" in message.data:
                    threading.Event().wait(1)

            with proxy.on_request(b"GET", delay):
                self.ends(program, proxy.url, options)

    def test_from_a_child(self, options, server):
        program = """
            use()
            if os.fork() == 0:
                use()
                sys.exit(0)
            assert os.wait()[1] == 0
            print("used", flush=True)
        """
        self.ends(program, server.url, options)


SITE = textwrap.dedent("""
    import asyncio
    import os
    import threading
    import time

    from django.conf import settings

    settings.configure(
        SECRET_KEY="tests",
        ALLOWED_HOSTS=["*"],
        CACHES={"default": {
            "BACKEND": "nearcache.django.TieredCache",
            "LOCATION": os.environ["NEARCACHE_TEST_URL"],
            "OPTIONS": {"NEAR": os.environ["NEARCACHE_TEST_NEAR"], "MAX_STALENESS": 5},
        }},
        ROOT_URLCONF=__name__,
    )

    import django
    from django.core.cache import cache, caches
    from django.core.wsgi import get_wsgi_application
    from django.http import JsonResponse
    from django.urls import path

    MASTER = os.getpid()
    cache.set_many({f"page{number}": {"number": number} for number in range(20)})
    asyncio.run(cache.aget("page1"))
    while not cache.stats().remote.near_hits:
        cache.get("page1")
        time.sleep(0.001)


    def hammer():
        # Not through Django's proxy: every use of that takes a lock of asgiref's, which a fork leaves locked.
        own = caches["default"]
        number = 0
        while True:
            number += 1
            own.set(f"hammered{number % 100}", number)
            own.get(f"hammered{number % 100}")


    threading.Thread(target=hammer, daemon=True).start()


    def page(request, number):
        hits = cache.stats().remote.near_hits
        end = time.monotonic() + 5
        while cache.stats().remote.near_hits == hits and time.monotonic() < end:
            found = cache.get(f"page{number}")
        return JsonResponse({
            "master": MASTER,
            "worker": os.getpid(),
            "found": found,
            "is_near": cache.stats().remote.near_hits > hits,
            "count": cache.incr("count") if not cache.add("count", 1) else 1,
        })


    urlpatterns = [path("<int:number>", page)]
    application = get_wsgi_application()
""")


@pytest.mark.parametrize("near", ["local", "shared"])
def test_gunicorn_with_preload(near, server, tmp_path, monkeypatch):
    with Proxy(server.address) as proxy:
        monkeypatch.setenv("NEARCACHE_TEST_URL", proxy.url)
        monkeypatch.setenv("NEARCACHE_TEST_NEAR", near)
        with Gunicorn(tmp_path, SITE, 2, ["--preload"]) as gunicorn:
            answers = gunicorn.answers(pages=20)
            listeners = sum(map(is_listener, proxy.connections))
            assert gunicorn.stop() == 0
            log = gunicorn.log.read_text()
    for count, answer in enumerate(answers):
        assert answer["found"] == {"number": count % 20}
        assert answer["is_near"]
        assert answer["worker"] != answer["master"]
    # All workers count together, on the server.
    assert [answer["count"] for answer in answers] == list(range(1, len(answers) + 1))
    # The master's and one a worker; with a shared near tier, one a machine.
    assert listeners == (3 if near == "local" else 1)
    assert "TIMEOUT" not in log, log
