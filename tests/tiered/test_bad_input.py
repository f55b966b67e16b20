"""Mistakes in settings, servers that fail or refuse, and values that are too large: a clear error each."""

import asyncio
import socket
import textwrap
import threading
import time

import pytest
from django.core.cache import CacheHandler
from django.core.exceptions import ImproperlyConfigured

from nearcache.django.errors import (
    RemoteConnectionError,
    RemoteError,
    RemoteReadOnlyError,
    RemoteResponseError,
    RemoteTimeoutError,
)
from nearcache.django.tiered_options import NAMES, TieredOptions
from support.isolated import run
from support.redis_servers.ports import free_port
from support.redis_servers.proxy import Proxy
from support.redis_servers.standalone import Server
from support.redis_servers.waiting import wait_until
from support.tiered import tiered

URL = "redis://127.0.0.1:1/0"
SECRET = "Pa55phrase"


class TestLocation:
    @pytest.mark.parametrize(
        ("url", "problem"),
        [
            ("", "a URL such as"),
            ("127.0.0.1:6379", "no scheme"),
            ("http://host", 'scheme "http" is unknown'),
            ("redis:/host", "no scheme"),
            ("rediss+unix:///socket", "scheme"),
            ("redis://host:0", "port is not a number from 1 to 65535"),
            ("redis://host:65536", "port is not a number from 1 to 65535"),
            ("redis://host:port", "port is not a number from 1 to 65535"),
            ("redis://::1", "IPv6 address must be written in []"),
            ("redis://[::1", 'has no "]"'),
            ("redis://host/one", "database is not a number from 0"),
            ("redis://host/-1", "database is not a number from 0"),
            ("redis://host?db=one", "value of db must be a number"),
            ("redis://host?databse=1", "databse is not a name that is accepted in the query"),
            ("redis://host?db", 'has no "="'),
            ("redis://host?socket_timeout=0", "socket_timeout must be a number of seconds above 0"),
            ("redis://host?max_connections=0", "maximum of connections must be at least 1"),
            ("redis://host?protocol=4", "protocol must be 2 or 3"),
            ("redis://one,two", "redis+cluster:// or redis+sentinel://"),
            ("redis://user@host", "a user but no password"),
            ("unix://", "no path"),
            ("unix://relative/socket", 'begin with "/"'),
            ("redis+sentinel://host", "does not name a service"),
            ("redis+cluster://host/1", "only database 0"),
            ("redis+cluster://host, redis://other", "must be the only one"),
            ("redis://host?ssl_cert_reqs=none", "rediss://"),
            (None, "a URL such as"),
            (5, "a URL such as"),
            ([], "a URL such as"),
            ([URL, None], "a URL such as"),
        ],
    )
    def test_is_refused(self, url, problem):
        with pytest.raises(ImproperlyConfigured) as raised:
            tiered(url)
        message = str(raised.value)
        assert message.startswith(("nearcache: LOCATION is ", "nearcache: LOCATION has the element "))
        assert problem in message
        assert "expected" in message

    @pytest.mark.parametrize(
        "url",
        [
            f"http://user:{SECRET}@host",
            f"redis://:{SECRET}@host:0",
            f"redis://:{SECRET}@host/one",
            f"redis://user:{SECRET}/@host",
            f"redis://user:{SECRET}#@host",
            f"redis://user:{SECRET}%zz@host",
            f"redis://host?password={SECRET}&nonsense=1",
            f"redis+sentinel://host?sentinel_password={SECRET}",
            f"user:{SECRET}@host",
            f"redis+cluster://:{SECRET}@host/1",
            [f"redis://:{SECRET}@host", None],
            [f"redis://:{SECRET}@host", "redis://host:0"],
            {f"redis://:{SECRET}@host": 1, 5: 1},
        ],
    )
    def test_does_not_show_the_password(self, url):
        with pytest.raises(ImproperlyConfigured) as raised:
            tiered(url)
        assert SECRET not in str(raised.value)

    def test_repr_does_not_show_the_password(self):
        options = TieredOptions.parse(
            f"redis://:{SECRET}@host", {"OPTIONS": {"PASSWORD": SECRET, "USERNAME": "user"}}
        )
        cache = tiered(f"redis://:{SECRET}@host", PASSWORD=SECRET)
        for shown in (repr(options), str(options), repr(cache), str(cache), repr(cache.stats())):
            assert SECRET not in shown


WRONG = {
    "GET_OR_SET": [5, "stale", None],
    "JITTER": [-1, 1, "x", None, True],
    "NEAR": [True, "remote", 1, ""],
    "MAX_MEMORY": ["64XB", 0, -1, None, 1.5, True, []],
    "NEAR_TTL": [0, -1, "soon", True, float("nan"), float("inf")],
    "MAX_STALENESS": [0, 0.01, None, "x", -1, True],
    "NEAR_EXCLUDE": ["session*", [1], None, 5],
    "MAX_PROCESSES": [0, "many", 1.5, 10**9],
    "OBJECT_CACHE": [-1, "64XB", 1.5, True, []],
    "ON_ERROR": ["ignore", None, True, []],
    "CLEAR": ["all", None, []],
    "REMOTE": [5, "", "nowhere", [], True],
    "CONNECT_TIMEOUT": [0, -1, None, "x", True],
    "SOCKET_TIMEOUT": [0, -1, None, "x", True],
    "MAX_CONNECTIONS": [0, -1, "x", 1.5, 10**6],
    "DB": [-1, "one", 1.5, True],
    "USERNAME": [5, b"user", True],
    "PASSWORD": [5, b"word", True],
    "TLS_CA": ["/nowhere", 5, "/"],
    "TLS_CERT": ["/nowhere", 5],
    "TLS_KEY": ["/nowhere", 5],
    "TLS_VERIFY": ["no", 0, None],
    "REVERSE_KEY_FUNCTION": [5, "nowhere.function", "nowhere"],
}


class TestOptions:
    @pytest.mark.parametrize(
        ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values]
    )
    def test_wrong_value_is_refused(self, name, value):
        with pytest.raises(ImproperlyConfigured) as raised:
            tiered(URL, **{name: value})
        message = str(raised.value)
        shown = repr(type(value)) if name == "PASSWORD" else repr(value)
        assert message.startswith("nearcache: ")
        assert name in message
        assert shown in message
        assert "expected" in message or "cannot be imported" in message

    @pytest.mark.parametrize("value", [5, "", b"x"])
    def test_wrong_location_of_the_shared_file_is_refused(self, value):
        with pytest.raises(ImproperlyConfigured, match=r"NEAR_LOCATION.*expected a name or an absolute path"):
            tiered(URL, NEAR="shared", NEAR_LOCATION=value)

    def test_every_option_is_among_them(self):
        elsewhere = {"NEAR_LOCATION"}
        assert set(NAMES) == WRONG.keys() | elsewhere

    @pytest.mark.parametrize(
        ("name", "suggestion"),
        [
            ("NEAR_TLL", "NEAR_TTL"),
            ("ONERROR", "ON_ERROR"),
            ("max_memry", "MAX_MEMORY"),
            ("SOCKET_TIMEOUTS", "SOCKET_TIMEOUT"),
            ("PASSWROD", "PASSWORD"),
        ],
    )
    def test_unknown_name_is_refused_with_a_suggestion(self, name, suggestion):
        with pytest.raises(ImproperlyConfigured) as raised:
            tiered(URL, **{name: SECRET})
        assert f"unknown name {name!r}. Did you mean {suggestion!r}?" in str(raised.value)
        assert "TieredCache accepts NEAR, " in str(raised.value)
        assert SECRET not in str(raised.value)

    def test_options_of_local_cache_are_refused(self):
        for name in ("MAX_ENTRIES", "EVICTION", "CLOCK", "CULL_FREQUENCY"):
            with pytest.raises(ImproperlyConfigured, match=f"unknown name '{name}'"):
                tiered(URL, **{name: 1})

    @pytest.mark.parametrize(
        ("options", "problem"),
        [
            ({"TLS_CA": __file__}, "rediss://"),
            ({"TLS_CERT": __file__}, "rediss://"),
            ({"USERNAME": "user"}, "a user but no password"),
            ({"serializer": "django.core.cache.backends.redis.RedisSerializer"}, "serializer"),
        ],
    )
    def test_wrong_combination_is_refused(self, options, problem):
        with pytest.raises(ImproperlyConfigured, match=problem):
            tiered(URL, **options)

    @pytest.mark.parametrize("name", ["TLS_CA", "TLS_CERT"])
    def test_file_without_a_certificate_is_refused(self, name, tmp_path):
        path = tmp_path / "empty.pem"
        path.touch()
        with pytest.raises(ImproperlyConfigured, match=r"empty\.pem .*expected files in PEM form"):
            tiered("rediss://host", **{name: str(path)})

    def test_names_of_redis_py_are_accepted(self):
        tiered(
            URL,
            db=1,
            username="user",
            password="word",
            socket_timeout=1,
            socket_connect_timeout=1,
            max_connections=3,
            parser_class="x",
            pool_class="x",
        )


class TestUnreachableServer:
    def test_is_an_error_at_the_first_use(self):
        port = free_port()
        settings = {"BACKEND": "nearcache.django.TieredCache", "LOCATION": f"redis://127.0.0.1:{port}"}
        cache = CacheHandler({"default": settings})["default"]
        for call in (
            lambda: cache.get("a"),
            lambda: cache.set("a", 1),
            lambda: list(cache.iter_keys("*")),
            cache.clear,
            lambda: cache.lock("a").acquire(),
            lambda: asyncio.run(cache.aget("a")),
        ):
            with pytest.raises(RemoteConnectionError, match=rf"127\.0\.0\.1:{port}.*refused"):
                call()
        assert cache.stats().remote.near_hits == 0

    @pytest.mark.parametrize("form", ["redis+sentinel://127.0.0.1:{}/main", "redis+cluster://127.0.0.1:{}"])
    def test_of_several_is_an_error_at_the_first_use(self, form):
        port = free_port()
        cache = tiered(form.format(port))
        with pytest.raises(RemoteConnectionError, match=rf"127\.0\.0\.1:{port}"):
            cache.get("a")
        with pytest.raises(RemoteConnectionError, match=rf"127\.0\.0\.1:{port}"):
            asyncio.run(cache.aget("a"))

    def test_socket_that_does_not_exist(self, tmp_path):
        with pytest.raises(RemoteConnectionError, match=r"nowhere.*does not exist"):
            tiered(f"unix://{tmp_path}/nowhere").get("a")

    def test_host_without_an_address(self):
        cache = tiered("redis://no-such-host.invalid:6379")
        with pytest.raises(RemoteConnectionError, match=r"resolve the host of no-such-host\.invalid"):
            cache.get("a")
        with pytest.raises(RemoteConnectionError, match=r"no-such-host\.invalid"):
            asyncio.run(cache.aget("a"))

    def test_errors_are_those_of_python_too(self):
        cache = tiered(f"redis://127.0.0.1:{free_port()}")
        with pytest.raises(ConnectionError):
            cache.get("a")

    def test_on_error_miss_serves_nothing(self):
        cache = tiered(f"redis://127.0.0.1:{free_port()}", ON_ERROR="miss")
        cache.set("a", 1)
        assert cache.get("a", 5) == 5
        assert cache.get_many(["a"]) == {}
        assert not cache.add("a", 1)
        assert not cache.delete("a")
        assert cache.keys("*") == []
        cache.clear()
        assert asyncio.run(cache.aget("a", 5)) == 5
        assert cache.stats().remote.ignored_errors >= 7


class TestSilentServer:
    """A server that accepts connections, and answers nothing."""

    @pytest.fixture
    def silent(self):
        with socket.create_server(("127.0.0.1", 0), backlog=100) as listening:
            yield listening.getsockname()[1]

    def test_costs_one_timeout_not_one_a_call(self, silent):
        cache = tiered(f"redis://127.0.0.1:{silent}", SOCKET_TIMEOUT=0.5, NEAR=None)
        start = time.monotonic()
        with pytest.raises(RemoteTimeoutError, match=f"no reply from 127.0.0.1:{silent} within 500ms"):
            cache.get("a")
        assert time.monotonic() - start >= 0.5
        refused = 0
        for _ in range(1000):
            with pytest.raises(RemoteTimeoutError) as raised:
                cache.get("a")
            refused += "out of order for" in str(raised.value)
        # Only the tries that are let through now and then take a timeout each.
        assert refused >= 990
        assert cache.stats().remote.breaker_open
        assert cache.stats().remote.breaker_trips == 1

    def test_costs_threads_and_tasks_one_timeout(self, silent):
        cache = tiered(f"redis://127.0.0.1:{silent}", SOCKET_TIMEOUT=0.5, NEAR=None)

        async def use():
            return await asyncio.gather(*(cache.aget("a") for _ in range(200)), return_exceptions=True)

        found = asyncio.run(use())
        assert all(isinstance(error, RemoteTimeoutError) for error in found)
        errors = []

        def use_in_thread():
            try:
                cache.get("a")
            except RemoteError as error:
                errors.append(str(error))

        threads = [threading.Thread(target=use_in_thread) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(errors) == 20
        assert sum("out of order for" in error for error in errors) >= 19
        assert cache.stats().remote.breaker_trips == 1

    def test_costs_a_task_the_socket_timeout(self, silent):
        cache = tiered(f"redis://127.0.0.1:{silent}", CONNECT_TIMEOUT=60, SOCKET_TIMEOUT=0.2, NEAR=None)
        with pytest.raises(RemoteTimeoutError, match="within 200ms"):
            asyncio.run(asyncio.wait_for(cache.aget("a"), 20))

    def test_comes_back(self, server):
        with Proxy(server.address) as proxy:
            cache = tiered(proxy.url, SOCKET_TIMEOUT=0.3)
            cache.set("a", 1)
            with proxy.silence(), pytest.raises(RemoteTimeoutError):
                cache.set("a", 2)

            def is_back():
                try:
                    return cache.get("a") == 1
                except RemoteError:
                    return False

            wait_until(is_back, "the cache is back")
            assert not cache.stats().remote.breaker_open


class TestRefusingServer:
    def test_replica(self, server, flavour):
        server.command("SET", ":1:a", 1)
        with Server(flavour, primary=server) as replica:
            wait_until(lambda: replica.command("GET", ":1:a") == b"1", "replicated")
            cache = tiered(replica.url)
            assert cache.get("a") == 1
            for call in (lambda: cache.set("a", 2), lambda: asyncio.run(cache.aset("a", 2))):
                with pytest.raises(RemoteReadOnlyError, match=f"127.0.0.1:{replica.port} is a replica"):
                    call()
            problem = wait_until(lambda: cache.stats().remote.near_problem, "a problem")
            assert "replica" in problem or "slave" in problem

    def test_full_server(self, flavour):
        with Server(flavour, maxmemory="3mb", maxmemory_policy="noeviction") as server:
            cache = tiered(server.url)
            values = {f"key{number}": b"x" * 100_000 for number in range(100)}
            with pytest.raises(RemoteResponseError, match="OOM command not allowed") as raised:
                cache.set_many(values)
            assert f"127.0.0.1:{server.port}" in str(raised.value)
            assert cache.get("key0") == b"x" * 100_000
            assert cache.delete("key0")

    def test_large_value(self, flavour):
        with Server(flavour, proto_max_bulk_len="1mb") as server:
            cache = tiered(server.url)
            cache.set("key", "old")
            for call in (
                lambda: cache.set("key", b"x" * 2**21),
                lambda: cache.set_many({"other": 1, "key": b"x" * 2**21}),
                lambda: asyncio.run(cache.aset("key", b"x" * 2**21)),
            ):
                with pytest.raises(RemoteResponseError, match="larger than the server's proto-max-bulk-len"):
                    call()
                # The server is not taken for one that is out of order.
                assert cache.get("key") == "old"
            assert asyncio.run(cache.aget("key")) == "old"
            assert cache.stats().remote.breaker_trips == 0

    def test_large_key(self, server):
        cache = tiered(server.url)
        key = "k" * 70_000
        with pytest.warns(match="longer than 250"):
            cache.set(key, 1)
        with pytest.warns(match="longer than 250"):
            assert cache.get(key) == 1

    def test_loading_server(self, server):
        with Proxy(server.address) as proxy:
            cache = tiered(proxy.url, NEAR=None)
            cache.set("a", 1)
            loading = b"-LOADING Valkey is loading the dataset in memory\r\n"
            with proxy.answer(b"GET", loading), pytest.raises(RemoteConnectionError, match="LOADING"):
                cache.get("a")
            assert cache.get("a") == 1

    def test_busy_server(self, server):
        with Proxy(server.address) as proxy:
            cache = tiered(proxy.url, NEAR=None)
            with proxy.answer(b"GET", b"-BUSY a script runs\r\n"), pytest.raises(RemoteError, match="BUSY"):
                cache.get("a")

    def test_value_of_another_type(self, server):
        server.command("LPUSH", ":1:list", "a")
        cache = tiered(server.url)
        with pytest.raises(RemoteResponseError, match="WRONGTYPE"):
            cache.get("list")
        with pytest.raises(RemoteError):
            cache.incr("list")

    def test_database_out_of_range(self, server):
        cache = tiered(f"redis://127.0.0.1:{server.port}/9999")
        with pytest.raises(RemoteError, match="DB index is out of range"):
            cache.get("a")
        with pytest.raises(RemoteError, match="DB index is out of range"):
            asyncio.run(cache.aget("a"))

    def test_value_that_is_not_pickled(self, server):
        server.command("SET", ":1:text", "plain text")
        cache = tiered(server.url)
        # As Django's RedisCache.
        with pytest.raises(Exception, match=r"pickle|unpickling|persistent"):
            cache.get("text")

    def test_program_that_is_no_server(self):
        with socket.create_server(("127.0.0.1", 0)) as listening:

            def answer():
                while True:
                    try:
                        connection = listening.accept()[0]
                    except OSError:
                        return
                    connection.recv(100)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    connection.close()

            threading.Thread(target=answer, daemon=True).start()
            port = listening.getsockname()[1]
            with pytest.raises(RemoteError, match=f"127.0.0.1:{port}"):
                tiered(f"redis://127.0.0.1:{port}", NEAR=None).get("a")
            listening.shutdown(socket.SHUT_RDWR)


ELSEWHERE = """
    from django.conf import settings
    settings.configure()
    from nearcache import _core
    for name in ("TieredBackend", "Completions", "Pending", "stop_listeners"):
        delattr(_core, name)
    from nearcache.django import LocalCache, TieredCache
    cache = LocalCache("", {})
    cache.set("a", 1)
    print(cache.get("a"))
    try:
        TieredCache("redis://127.0.0.1:1", {})
    except Exception as error:
        print(error)
"""


def test_other_platforms_have_all_but_tiered_cache():
    output = run("-c", textwrap.dedent(ELSEWHERE))
    assert output.startswith("1\nnearcache: TieredCache runs on Linux, macOS and other Unix systems")
