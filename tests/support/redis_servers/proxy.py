"""A TCP proxy between clients and a server that a test scripts.

    with Proxy(server.address) as proxy:
        client = connect(proxy.port)
        with proxy.hold(REPLY, command=b"GET") as held:
            start(client.get)
            held.wait_seen()      # the server has executed GET, the client does not know yet
            server.command("SET", "key", 2)
        # The reply goes on.

Rules select messages by kind (REQUEST, REPLY, PUSH), by the first words of the command, and by a predicate
on the connection, such as `is_listener` or `is_data`; what is left out matches all. They apply to
connections that exist and to later ones.

The proxy has one thread, which runs an event loop. All methods may be called from any other thread.
"""

import asyncio
import contextlib
import gc
import socket
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

from support.redis_servers.connection import Connection
from support.redis_servers.messages import PUSH, REPLY, REQUEST
from support.redis_servers.ports import free_port
from support.redis_servers.rules import Answer, Delay, Hold, Hook, Silence, Watch
from support.redis_servers.waiting import TIMEOUT_SECONDS, wait_until

CALLBACK_THREADS = 16
ROUNDS = 5


class Proxy:
    """Forwards connections to a server. `with` closes it, and raises what callbacks raised.

    Attributes: `port`, `address`, `url`, `connections` (those that are open).
    """

    def __init__(self, target, *, latency=0.0, ssl=None, port=None):
        """Listen on a free port.

        `target` is a pair of host and port, or a unix socket's path; it may change later. Replies and pushes
        arrive `latency` seconds later. With `ssl`, an `SSLContext`, clients speak TLS to the proxy.
        """
        self.target = target
        self.port = port or free_port()
        self._ssl = ssl
        self._rules = []
        self._removals = {}
        self._open = {}
        self._serving = set()
        self._accepted = 0
        self._errors = []
        self._listener = None
        self._loop = asyncio.new_event_loop()
        self._callbacks = ThreadPoolExecutor(CALLBACK_THREADS, "proxy-callback")
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        try:
            self._run(self._listen())
        except BaseException:
            self.close()
            raise
        if latency:
            self.delay(latency, REPLY, PUSH)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def address(self):
        return ("127.0.0.1", self.port)

    @property
    def url(self):
        return f"{'rediss' if self._ssl else 'redis'}://127.0.0.1:{self.port}/0"

    @property
    def connections(self):
        return list(self._open)

    @property
    def accepted(self):
        """How many connections there were."""
        return self._accepted

    # Rules. Each method returns the rule, which ends with `release()` or as a context manager.

    def watch(self, *kinds, command=None, where=None):
        """Count messages: see `wait_seen` and `wait_passed`."""
        return self._add(Watch(self, kinds, command, where))

    def hold(self, *kinds, command=None, where=None):
        """Keep messages, and what follows them in their direction, until the rule's `release`."""
        return self._add(Hold(self, kinds, command, where))

    def delay(self, seconds, *kinds, command=None, where=None):
        """Send messages on later, and none later for another's delay."""
        return self._add(Delay(self, seconds, kinds, command, where))

    def silence(self, where=None):
        """Read from both sides and send nothing on, not even the end of a connection."""
        return self._add(Silence(self, (), None, where))

    def on_request(self, command, callback, where=None):
        """Call a function with each request of a command (None: of any) before the server gets it."""
        return self._add(Hook(self, callback, (REQUEST,), command, where))

    def on_reply(self, command, callback, where=None):
        """Call a function with each reply to a command (None: to any) before the client gets it."""
        return self._add(Hook(self, callback, (REPLY,), command, where))

    def on_push(self, callback, where=None):
        """Call a function with each push before the client gets it."""
        return self._add(Hook(self, callback, (PUSH,), None, where))

    def answer(self, command, reply, where=None):
        """Answer a command in the server's place with these bytes."""
        return self._add(Answer(self, reply, (REQUEST,), command, where))

    def release(self):
        """End all rules."""
        for rule in list(self._rules):
            rule.release()

    # Connections.

    def cut(self, where=None):
        """Reset connections: both sides get RST. Returns how many."""
        return self._run(self._cut(where))

    @contextlib.contextmanager
    def refused(self):
        """Refuse new connections inside the `with`; those that exist stay."""
        self.refuse()
        try:
            yield
        finally:
            self.accept()

    def refuse(self):
        """Refuse new connections until `accept`."""
        self._run(self._stop_listening())

    def accept(self):
        """Accept connections again, on the same port."""
        self._run(self._listen())

    def wait_for_connection(self, where=None, timeout=TIMEOUT_SECONDS):
        """Wait until there is a connection like that; return it."""

        def find():
            return next((x for x in self.connections if where is None or where(x)), None)

        return wait_until(find, "a connection", timeout)

    def close(self):
        """Close all connections and end the thread; raise the first error of a callback."""
        if self._loop.is_closed():
            return
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._callbacks.shutdown()
        self._loop.close()
        if self._ssl is not None:
            _collect_handshakes()
        if self._errors:
            raise self._errors[0]

    # What rules and connections use.

    def rules_for(self, message):
        return [rule for rule in self._rules if rule.matches(message)]

    def remove(self, rule):
        self._run(self._remove(rule))

    async def removal_of(self, rule):
        """Wait until a rule has been removed."""
        if rule in self._rules:
            await self._removals[rule].wait()

    async def call(self, callback, message):
        """Call a function in a thread of its own. The proxy's `close` raises its errors."""
        try:
            await self._loop.run_in_executor(self._callbacks, callback, message)
        except Exception as error:
            self._errors.append(error)

    # The event loop's side.

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(TIMEOUT_SECONDS)

    def _add(self, rule):
        async def add():
            self._removals[rule] = asyncio.Event()
            self._rules.append(rule)

        self._run(add())
        return rule

    async def _remove(self, rule):
        if rule in self._rules:
            self._rules.remove(rule)
            self._removals.pop(rule).set()

    async def _listen(self):
        if self._listener is None:
            self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._ssl)

    async def _stop_listening(self):
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def _serve(self, reader, writer):
        task = asyncio.current_task()
        self._serving.add(task)
        try:
            await self._connect(task, reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self._serving.discard(task)

    async def _connect(self, task, reader, writer):
        try:
            if isinstance(self.target, str):
                server = await asyncio.open_unix_connection(self.target)
            else:
                server = await asyncio.open_connection(*self.target)
        except OSError:
            writer.transport.abort()
            return
        for side in (writer, server[1]):
            connected = side.get_extra_info("socket")
            if connected.family == socket.AF_INET:
                connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._accepted += 1
        connection = Connection(self, self._accepted, (reader, writer), server)
        self._open[connection] = task
        try:
            await connection.run()
        except asyncio.CancelledError:
            connection.reset()
        finally:
            del self._open[connection]

    async def _cut(self, where):
        found = [x for x in self._open if where is None or where(x)]
        tasks = [self._open[connection] for connection in found]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return len(tasks)

    async def _stop(self):
        await self._stop_listening()
        # What was accepted just now begins: asyncio takes four rounds from there to `_serve`.
        await _rounds()
        await self._cut(None)
        # Those that are not connected to the server yet.
        tasks = list(self._serving)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # Transports close in the next rounds of the loop.
        await _rounds()


async def _rounds():
    """Let the event loop do what it has begun."""
    for _ in range(ROUNDS):
        await asyncio.sleep(0)


def _collect_handshakes():
    """Free the connections whose TLS handshake did not end: asyncio gives nobody access to them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
