"""The servers and the proxy of the tests do what the tests of TieredCache rely on."""

import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.redis_servers import resp
from support.redis_servers.messages import PUSH, REPLY, REQUEST
from support.redis_servers.proxy import Proxy
from support.redis_servers.rules import is_data, is_listener
from support.redis_servers.standalone import Server
from support.redis_servers.waiting import wait_until


@pytest.fixture
def connect(proxied):
    """Return a function that connects to the proxy."""
    clients = []

    def connect(**options):
        clients.append(resp.Client(proxied.address, **options))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


@pytest.fixture
def listener(connect):
    """Return a connection that receives the invalidations of all keys."""
    client = connect(protocol=3)
    client.command("CLIENT", "TRACKING", "ON", "BCAST")
    return client


@pytest.fixture
def in_thread():
    """Return a function that calls another one in a thread, and returns the future."""
    with ThreadPoolExecutor(4) as pool:
        yield pool.submit


def invalidation(key):
    return [b"invalidate", [key]]


class TestServer:
    def test_answers_on_port_and_socket(self, server):
        for address in (server.address, server.socket):
            with resp.Client(address, protocol=3) as client:
                assert client.command("PING") == b"PONG"

    def test_has_users_and_limits(self, flavour):
        with Server(
            flavour, password='a "word', users=["bob on >secret ~app:* +@all"], maxmemory="100mb"
        ) as server:
            assert server.command("CONFIG", "GET", "maxmemory")[1] == b"104857600"
            with (
                resp.Client(server.address, username="bob", password="secret") as bob,
                pytest.raises(resp.ReplyError, match="NOPERM"),
            ):
                bob.command("GET", "other")
            with resp.Client(server.address) as nobody, pytest.raises(resp.ReplyError, match="NOAUTH"):
                nobody.command("GET", "a")

    def test_restarts_on_its_port(self, server):
        before = server.pid, server.port
        server.kill()
        with pytest.raises(ConnectionRefusedError):
            resp.Client(server.address)
        server.start()
        server.restart()
        assert server.pid != before[0]
        assert server.port == before[1]
        assert server.command("PING") == b"PONG"

    def test_paused_server_does_not_answer(self, server):
        server.pause()
        with resp.Client(server.address, timeout=0.1) as client:
            with pytest.raises(TimeoutError):
                client.command("PING")
            server.resume()
            assert client.receive() == b"PONG"

    def test_replica_follows(self, server, flavour):
        server.command("SET", "a", 1)
        with Server(flavour, primary=server) as replica:
            wait_until(lambda: replica.command("GET", "a") == b"1", "the replica has the value")
            with pytest.raises(resp.ReplyError, match="READONLY"):
                replica.command("SET", "a", 2)

    def test_leaves_nothing(self, flavour):
        with Server(flavour) as server:
            server.command("SET", "a", 1)
        assert not server.folder.exists()
        assert not Path(f"/proc/{server.pid}").exists()

    def test_ends_with_the_process_that_started_it(self):
        program = (
            "from support.redis_servers.standalone import Server\n"
            "server = Server()\n"
            "server.pause()\n"
            "print(server.pid, server.folder, flush=True)\n"
            "input()\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", program],
            env={"PYTHONPATH": str(Path(__file__).parents[1])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as parent:
            pid, folder = parent.stdout.readline().split()
            assert Path(folder).exists()
            parent.send_signal(signal.SIGKILL)
        wait_until(lambda: not is_alive(pid) and not Path(folder).exists(), "server and folder are gone")


def is_alive(pid):
    """Return whether a process runs; one that has ended may not have been reaped."""
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


class TestProxy:
    def test_passes_everything_on(self, connect, server):
        client = connect(protocol=3)
        value = bytes(range(256)) * 4000
        client.command("SET", "a", value)
        assert client.command("GET", "a") == value
        for number in range(100):
            client.send("SET", number, number)
        assert [client.receive() for _ in range(100)] == [b"OK"] * 100
        assert client.command("CONFIG", "GET", "port") == {b"port": str(server.port).encode()}

    def test_latency_does_not_add_up(self, server):
        with Proxy(server.address, latency=0.2) as proxy, resp.Client(proxy.address) as client:
            start = time.monotonic()
            for _ in range(50):
                client.send("PING")
            assert [client.receive() for _ in range(50)] == [b"PONG"] * 50
            assert 0.2 <= time.monotonic() - start < 2

    def test_reply_is_held_while_a_push_overtakes_it(self, proxied, connect, listener, server, in_thread):
        server.command("SET", "a", 1)
        assert listener.receive() == invalidation(b"a")
        data = connect()
        with proxied.hold(REPLY, command=b"GET", where=is_data) as held:
            reading = in_thread(data.command, "GET", "a")
            held.wait_seen()
            server.command("SET", "a", 2)
            assert listener.receive() == invalidation(b"a")
            assert not reading.done()
        assert reading.result(5) == b"1"

    def test_push_is_held_while_a_reply_overtakes_it(self, proxied, connect, listener, in_thread):
        data = connect()
        with proxied.hold(PUSH, where=is_listener) as held:
            data.command("SET", "a", 2)
            held.wait_seen()
            assert data.command("GET", "a") == b"2"
            receiving = in_thread(listener.receive)
            time.sleep(0.05)
            assert not receiving.done()
        assert receiving.result(5) == invalidation(b"a")

    def test_request_is_held_beyond_the_end_of_its_client(self, proxied, connect, server):
        client = connect(timeout=0.1)
        with proxied.hold(REQUEST, command=b"SET") as held:
            with pytest.raises(TimeoutError):
                client.command("SET", "a", 1)
            client.close()
            held.wait_seen()
            assert server.command("GET", "a") is None
        wait_until(lambda: server.command("GET", "a") == b"1", "the write is applied later")

    def test_hooks_run_before_a_message_goes_on(self, proxied, connect, server):
        def change(reply):
            reply.data = reply.data.replace(b"2", b"3")

        client = connect()
        with proxied.on_request(b"GET", lambda _: server.command("SET", "a", 1)) as hook:
            assert client.command("GET", "a") == b"1"
            hook.wait_passed()
        with proxied.on_reply(b"GET", lambda _: server.command("SET", "a", 2)):
            assert client.command("GET", "a") == b"1"
        with proxied.on_reply(b"GET", change):
            assert client.command("GET", "a") == b"3"
        assert client.command("GET", "a") == b"2"

    def test_error_of_a_callback_is_raised(self, server):
        proxy = Proxy(server.address)
        proxy.on_request(b"GET", lambda _: 1 / 0)
        with resp.Client(proxy.address) as client:
            client.command("GET", "a")
        with pytest.raises(ZeroDivisionError):
            proxy.close()

    def test_silence_has_no_end_until_it_is_a_reset(self, proxied, connect, listener, server):
        data = connect()
        listener.socket.settimeout(0.1)
        with proxied.silence(is_listener):
            data.command("SET", "a", 1)
            with pytest.raises(TimeoutError):
                listener.receive()
            server.restart()
            with pytest.raises(TimeoutError):
                listener.receive()
        with pytest.raises(ConnectionResetError):
            listener.receive()

    def test_cut_and_refuse(self, proxied, connect, listener):
        data = connect()
        data.command("PING")
        assert proxied.cut(is_data) == 1
        with pytest.raises(ConnectionResetError):
            data.command("PING")
        assert listener.command("PING") == b"PONG"
        with proxied.refused(), pytest.raises(ConnectionRefusedError):
            connect()
        assert connect().command("PING") == b"PONG"
        assert listener.command("PING") == b"PONG"

    def test_end_of_the_server_reaches_the_client(self, connect, server):
        client = connect()
        client.command("PING")
        server.kill()
        with pytest.raises(ConnectionError):
            client.command("PING")
        with pytest.raises(ConnectionError):
            connect().command("PING")

    def test_answers_in_order(self, proxied, connect):
        client = connect()
        with proxied.answer(b"HELLO", b"-ERR unknown command 'HELLO'\r\n"):
            for command in (["SET", "a", 1], ["HELLO", 3], ["GET", "a"]):
                client.send(*command)
            assert client.receive() == b"OK"
            with pytest.raises(resp.ReplyError, match="unknown command"):
                client.receive()
            assert client.receive() == b"1"
