"""Waiting for the server under gevent and eventlet: other greenlets run.

Each test runs in a new process, because monkey patching cannot be undone. It is called with the name of the
library; `library` patches everything before the first import of a cache.
"""

import contextlib
import json
import textwrap
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import pytest

from support.isolated import run as run_program
from support.programs import Gunicorn
from support.redis_servers.messages import REPLY, REQUEST
from support.redis_servers.proxy import Proxy
from support.tiered import cluster_url, sentinel_url

LATENCY = 0.05
MANY = 100

# `spawn`, `wait_all`, `sleep`, `timeout` and `kill` mean the same with both libraries.
LIBRARIES = {
    "gevent": """
        from gevent import monkey; monkey.patch_all()
        import gevent
        from gevent import Timeout, sleep, spawn
        wait_all = gevent.joinall
        def kill(greenlet): greenlet.kill()
    """,
    "eventlet": """
        import warnings
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import eventlet; eventlet.monkey_patch()
        from eventlet import Timeout, sleep, spawn
        def wait_all(threads):
            for thread in threads: thread.wait()
        def kill(thread): thread.kill()
    """,
}
PROGRAM = """
    import json, sys, time
    from pathlib import Path
    import django
    from django.conf import settings
    settings.configure()
    django.setup()
    from nearcache.django import TieredCache

    URL = sys.argv[1]

    def cache_of(**options):
        return TieredCache(URL, {"OPTIONS": options})

    def descriptors():
        return len(list(Path("/proc/self/fd").iterdir()))

    def beats_during(function):
        '''Return how often another greenlet ran while a function did.'''
        beats, is_over = 0, False
        def beat():
            nonlocal beats
            while not is_over:
                beats += 1
                sleep(0.002)
        beating = spawn(beat)
        sleep(0)
        try:
            function()
        finally:
            is_over = True
        wait_all([beating])
        return beats

    def report(value):
        print(json.dumps(value), flush=True)
"""


@pytest.fixture(params=LIBRARIES)
def library(request):
    """Return the name of the library."""
    # Not imported here: eventlet warns at every fork of a process that has imported it.
    if find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return request.param


def source(library, program):
    return "".join(map(textwrap.dedent, (LIBRARIES[library], PROGRAM, program)))


@pytest.fixture
def green(library):
    """Return a function that runs a program in a patched process, and returns what it reports."""

    def run(program, url):
        return json.loads(run_program("-c", source(library, program), url))

    return run


@pytest.fixture
def slow(server):
    """Return a proxy whose replies take 50 ms."""
    with Proxy(server.address, latency=LATENCY) as proxy:
        yield proxy


def test_greenlets_wait_together(green, server):
    server.command("SET", ":1:key", 5)
    with Proxy(server.address) as proxy, ThreadPoolExecutor(1) as pool:
        held = proxy.hold(REPLY, command=b"GET")
        asked = proxy.watch(REQUEST, command=b"GET")

        def release():
            # All requests have arrived, and none was answered.
            asked.wait_seen(MANY)
            held.release()

        released = pool.submit(release)
        program = f"""
            cache = cache_of(NEAR=None, SOCKET_TIMEOUT=20)
            found = []
            wait_all([spawn(lambda: found.append(cache.get("key"))) for _ in range({MANY})])
            report(found)
        """
        assert green(program, proxy.url) == [5] * MANY
        released.result(1)


def test_every_operation_lets_others_run(green, slow):
    program = """
        cache = cache_of(NEAR=None)
        operations = {
            "first use": lambda: cache.keys("*"),
            "set": lambda: cache.set("a", 1),
            "get": lambda: cache.get("a"),
            "get_many": lambda: cache.get_many(["a", "b"]),
            "set_many": lambda: cache.set_many({"a": 1, "b": 2}),
            "incr": lambda: cache.incr("a"),
            "touch": lambda: cache.touch("a", 9),
            "ttl": lambda: cache.ttl("a"),
            "has_key": lambda: cache.has_key("a"),
            "iter_keys": lambda: list(cache.iter_keys("*")),
            "delete": lambda: cache.delete("a"),
            "delete_pattern": lambda: cache.delete_pattern("*"),
            "clear": cache.clear,
            "lock": lambda: cache.lock("lock", timeout=9).acquire(),
            "waiting for a lock": lambda: cache.lock("lock").acquire(blocking_timeout=0.1),
        }
        report({name: beats_during(operation) for name, operation in operations.items()})
    """
    beats = green(program, slow.url)
    # An answer takes 25 beats. One beat is there if the hub was blocked.
    assert {name for name, count in beats.items() if count < 5} == set()


@pytest.mark.parametrize(
    "operation", ['cache.get("a")', 'cache.keys("*")', "cache.clear()", 'cache.lock("a").acquire()']
)
@pytest.mark.parametrize("form", ["sentinels", "cluster"])
def test_first_use_lets_others_run(green, form, operation, request):
    servers = request.getfixturevalue(form)
    url = sentinel_url(servers) if form == "sentinels" else cluster_url(servers)
    program = f"""
        cache = cache_of(NEAR=None, CLEAR="flushdb")
        report(beats_during(lambda: {operation}))
    """
    with contextlib.ExitStack() as stack:
        for proxy in servers.proxies.values():
            stack.enter_context(proxy.delay(LATENCY, REPLY))
        assert green(program, url) >= 5


def test_timeout_leaves_the_cache_usable(green, server):
    with Proxy(server.address, latency=LATENCY) as proxy:
        program = """
            cache = cache_of(NEAR=None)
            cache.set("key", 1)
            before, timeouts = descriptors(), 0
            for _ in range(20):
                try:
                    with Timeout(0.005):
                        cache.get("other")
                except Timeout:
                    timeouts += 1
            found = cache.get("key")
            sleep(0.1)
            report([timeouts, found, descriptors() - before])
        """
        timeouts, found, leaked = green(program, proxy.url)
    assert (timeouts, found) == (20, 1)
    # A few may be kept for the next requests.
    assert leaked < 20


def test_near_copy_of_an_interrupted_write_is_invalidated(green, server):
    with Proxy(server.address) as proxy:

        def delay_the_second(message):
            if b"second" in message.data:
                time.sleep(0.2)

        program = """
            cache = cache_of()
            cache.set("key", "first")
            while not cache.stats().remote.near_hits:
                cache.get("key")
                sleep(0.001)
            try:
                with Timeout(0.02):
                    cache.set("key", "second")
            except Timeout:
                hits = cache.stats().remote.near_hits
                found = cache.get("key")
                report([found, cache.stats().remote.near_hits - hits])
        """
        with proxy.on_request(b"SET", delay_the_second):
            assert green(program, proxy.url) == ["second", 0]


def test_an_interrupted_write_ends_the_flight_that_began_since_it_was_sent(green, server, make_tiered):
    with Proxy(server.address) as proxy:
        cache = make_tiered(proxy.url, NEAR=None)
        began, go, is_sent = threading.Event(), threading.Event(), threading.Event()

        def compute():
            began.set()
            go.wait()
            return "old"

        leading = threading.Thread(target=cache.get_or_set, args=("key", compute))

        def lead_meanwhile(message):
            if b"written" in message.data and not is_sent.is_set():
                is_sent.set()
                leading.start()
                began.wait()
                # Longer than the greenlet waits.
                time.sleep(0.2)

        program = """
            cache = cache_of(NEAR=None)
            cache.get_or_set("other", lambda: 1)
            try:
                with Timeout(0.02):
                    cache.set("key", "written")
            except Timeout:
                # Answers come in order, so this one comes after that of the write.
                report(cache.get("other"))
        """
        with proxy.on_request(b"SET", lead_meanwhile):
            assert green(program, proxy.url) == 1
        assert server.command("DEL", ":1:key") == 1
        go.set()
        leading.join()
        assert cache.get("key") is None


def test_killed_greenlets_leave_nothing(green, slow):
    program = f"""
        cache = cache_of(NEAR=None)
        cache.set("key", 1)
        before = descriptors()
        for _ in range(3):
            waiting = [spawn(cache.get, "key") for _ in range({MANY})]
            sleep(0.005)
            for greenlet in waiting:
                kill(greenlet)
            sleep(0.1)
        report([cache.get("key"), descriptors() - before])
    """
    found, leaked = green(program, slow.url)
    assert found == 1
    # A few may be kept for the next requests.
    assert leaked < MANY


def test_process_has_many_descriptors(green, server):
    resource = pytest.importorskip("resource")
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 1200:
        pytest.skip("this process may not open that many files")
    program = """
        import os
        cache = cache_of(NEAR=None)
        cache.set("key", 1)
        # select() refuses descriptors from 1024.
        opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]
        report(cache.get("key"))
    """
    assert green(program, server.url) == 1


def test_near_copies_are_served(green, server):
    program = """
        cache = cache_of()
        cache.set("key", 1)
        while not cache.stats().remote.near_hits:
            cache.get("key")
            sleep(0.001)
        report(cache.get("key"))
    """
    assert green(program, server.url) == 1


def test_outage_is_an_error(green, server):
    with Proxy(server.address) as proxy, proxy.refused():
        program = """
            from nearcache.django.errors import RemoteConnectionError
            try:
                cache_of().get("key")
            except RemoteConnectionError as error:
                report(str(error))
        """
        message = green(program, proxy.url)
    assert f"127.0.0.1:{proxy.port}" in message


SITE = textwrap.dedent("""
    import os

    from django.conf import settings

    settings.configure(
        SECRET_KEY="tests",
        ALLOWED_HOSTS=["*"],
        CACHES={"default": {
            "BACKEND": "nearcache.django.TieredCache",
            "LOCATION": os.environ["NEARCACHE_TEST_URL"],
            "OPTIONS": {"NEAR": None, "SOCKET_TIMEOUT": 20},
        }},
        ROOT_URLCONF=__name__,
    )

    from django.core.cache import cache
    from django.core.wsgi import get_wsgi_application
    from django.http import JsonResponse
    from django.urls import path


    def page(request, number):
        return JsonResponse({"worker": os.getpid(), "found": cache.get(f"key{number}")})


    urlpatterns = [path("<int:number>", page)]
    application = get_wsgi_application()
""")


@pytest.mark.parametrize("options", [(), ("--preload",)], ids=["plain", "preload"])
def test_gunicorn_serves_many_requests_together(options, server, tmp_path, monkeypatch):
    pytest.importorskip("gevent")
    for number in range(MANY):
        server.command("SET", f":1:key{number}", number)
    with Proxy(server.address) as proxy:
        monkeypatch.setenv("NEARCACHE_TEST_URL", proxy.url)
        held = proxy.hold(REPLY, command=b"GET")
        asked = proxy.watch(REQUEST, command=b"GET")
        with (
            Gunicorn(tmp_path, SITE, 1, ["--worker-class=gevent", *options]) as gunicorn,
            ThreadPoolExecutor(MANY) as pool,
        ):
            address = gunicorn.address()

            def visit(number):
                with urllib.request.urlopen(f"{address}/{number}", timeout=30) as response:
                    return json.load(response)["found"]

            pages = [pool.submit(visit, number) for number in range(MANY)]
            # One worker with one thread has sent all requests, and none was answered.
            asked.wait_seen(MANY)
            held.release()
            assert [page.result(30) for page in pages] == list(range(MANY))
            assert gunicorn.stop() == 0


def test_single_flight_lets_others_run(green, server):
    program = """
        cache = cache_of(NEAR=None, SOCKET_TIMEOUT=20)
        computations = []

        def compute():
            computations.append(1)
            sleep(0.1)
            return "value"

        values = []
        options = [{}, {"stale": 60}, {"distributed": True}]
        for number, options in enumerate(options):
            def ask():
                values.append(cache.get_or_set(f"key-{number}", compute, 60, **options))
            wait_all([spawn(ask) for _ in range(100)])
        beats = beats_during(lambda: cache.get_or_set("other", compute, 60, distributed=True))
        report([len(computations), values == ["value"] * 300, beats])
    """
    computations, is_same, beats = green(program, server.url)
    assert (computations, is_same) == (4, True)
    assert beats >= 5


def test_a_greenlet_waits_for_another_machine(green, server):
    with server.client() as client:
        client.command("SET", ":nearcache-lock:{:1:key}", "another", "PX", 2000)
    program = """
        cache = cache_of(NEAR=None)
        values = []
        beats = beats_during(
            lambda: values.append(cache.get_or_set("key", lambda: "own", 60, distributed=True))
        )
        report([values, beats])
    """
    values, beats = green(program, server.url)
    assert values == ["own"]
    assert beats >= 5
