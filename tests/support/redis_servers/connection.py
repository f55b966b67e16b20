"""One client's connection through a proxy, in the proxy's event loop."""

import asyncio
import contextlib
import socket
import struct
from collections import deque

from support.redis_servers import resp
from support.redis_servers.messages import PUBLISHED, PUSH, REPLY, REQUEST, SUBSCRIPTIONS, Framer, Message
from support.redis_servers.rules import Answer, Delay, Hold, Hook, Silence

CHUNK = 64 * 1024
# After these, the server sends what is no reply.
STREAMS = (b"PSYNC", b"SYNC", b"MONITOR")
# How many words of a command tell what a connection is for; of others the first.
WORDS = {"CLIENT": 3, "HELLO": 2, "CONFIG": 2, "CLUSTER": 2, "SENTINEL": 2}
PING = resp.encode("PING")
RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no time: closing sends RST


class Connection:
    """Both directions of a connection. Each has a task that reads and one that sends."""

    def __init__(self, proxy, number, client, server):
        self.number = number
        self.lost_bytes = False
        self._proxy = proxy
        self._loop = asyncio.get_running_loop()
        self._client, self._server = client, server  # pairs of a reader and a writer
        # A closed transport may not tell its socket.
        self._sockets = [writer.get_extra_info("socket") for _, writer in (client, server)]
        self._framers = {REQUEST: Framer(), REPLY: Framer()}
        self._sent = set()
        self._unanswered = deque()
        self._subscribes = False

    def __repr__(self):
        return f"<Connection {self.number} {sorted(self._sent)}>"

    def has_sent(self, words):
        """Return whether the client has sent a command that begins like this: `b"CLIENT TRACKING"`."""
        return any(sent.startswith(words.decode().upper()) for sent in list(self._sent))

    async def run(self):
        """Forward both directions until the server or the client has closed its side."""
        queues = {REQUEST: asyncio.Queue(), REPLY: asyncio.Queue()}
        tasks = [
            asyncio.ensure_future(self._read(REQUEST, self._client[0], queues[REQUEST])),
            asyncio.ensure_future(self._read(REPLY, self._server[0], queues[REPLY])),
            asyncio.ensure_future(self._send_all(queues[REQUEST], self._server[1])),
        ]
        try:
            await self._send_all(queues[REPLY], self._client[1])
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for writer in (self._client[1], self._server[1]):
                writer.close()

    def reset(self):
        """Send RST to both sides."""
        for connected in self._sockets:
            with contextlib.suppress(OSError):
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        for _, writer in (self._client, self._server):
            writer.transport.abort()

    async def _read(self, direction, reader, queue):
        while True:
            try:
                data = await reader.read(CHUNK)
            except OSError:
                data = b""
            if not data:
                queue.put_nowait(self._timed(Message(direction, b"", self)))
                return
            for piece in self._framers[direction].feed(data):
                queue.put_nowait(self._timed(self._message(direction, piece)))

    def _message(self, direction, piece):
        message = Message(direction, piece, self)
        if self._framers[direction].opaque:
            return message
        if direction == REQUEST:
            self._note_request(message)
        elif self._is_push(message):
            message.kind = PUSH
        elif self._unanswered:
            message.command = self._unanswered.popleft()
            if isinstance(message.command, Answered):
                message.data = message.command.reply
        return message

    def _note_request(self, message):
        message.command = [word for word in message.value if isinstance(word, bytes)]
        words = [word.decode(errors="replace").upper() for word in message.command[:3]]
        self._sent.add(" ".join(words[: WORDS.get(words[0], 1)]))
        if message.command[0].upper() in STREAMS:
            self._framers[REQUEST].opaque = self._framers[REPLY].opaque = True
        if message.command[0].lower() in SUBSCRIPTIONS:
            self._subscribes = True
        else:
            self._unanswered.append(message.command)

    def _is_push(self, message):
        if message.data.startswith((b">", b"|1\r\n")):
            return message.data.startswith(b">")
        if not self._subscribes or not message.data.startswith(b"*"):
            return False
        value = message.value
        return bool(value) and value[0] in PUBLISHED

    def _timed(self, message):
        """Set when a message is due. Delays count from its arrival, so they do not add up."""
        delays = [rule for rule in self._proxy.rules_for(message) if isinstance(rule, Delay)]
        message.due = self._loop.time() + sum(rule.seconds for rule in delays)
        for rule in delays:
            rule.count(seen=1)
        return message

    async def _send_all(self, queue, writer):
        """Send messages as they are due. Half-close the connection at the end of the stream, and return."""
        while True:
            message = await queue.get()
            while (wait := message.due - self._loop.time()) > 0:
                await asyncio.sleep(wait)
            applied = await self._apply_rules(message)
            if any(isinstance(rule, Silence) for rule in applied):
                self.lost_bytes = True
                continue
            # A side that is gone is found by its reader.
            with contextlib.suppress(OSError, RuntimeError):
                if message.data:
                    writer.write(message.data)
                    await writer.drain()
                elif writer.can_write_eof():
                    writer.write_eof()
                else:
                    writer.close()
            for rule in applied:
                rule.count(passed=1)
            if not message.data:
                return

    async def _apply_rules(self, message):
        """Do what the rules want; return those that applied."""
        applied = []
        while rule := self._next_rule(message, applied):
            applied.append(rule)
            if not isinstance(rule, Delay):
                rule.count(seen=1)
            if isinstance(rule, Hold):
                await self._proxy.removal_of(rule)
            elif isinstance(rule, Hook):
                await self._proxy.call(rule.callback, message)
            elif isinstance(rule, Answer):
                self._answer(rule, message)
        return applied

    def _next_rule(self, message, applied):
        # Look the rules up each time: they may change while a message is held.
        return next((rule for rule in self._proxy.rules_for(message) if rule not in applied), None)

    def _answer(self, rule, message):
        """Let the server see a PING, and mark the request so that its reply is replaced."""
        message.data = PING
        position = next(i for i, command in enumerate(self._unanswered) if command is message.command)
        self._unanswered[position] = Answered(message.command, rule.reply)


class Answered(list):
    """The command of a request that is answered in the server's place."""

    def __init__(self, command, reply):
        super().__init__(command)
        self.reply = reply
