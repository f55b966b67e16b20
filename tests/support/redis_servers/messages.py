"""What passes through a proxy: messages, cut out of the streams of bytes."""

from dataclasses import dataclass, field
from typing import Any

from support.redis_servers import resp

REQUEST, REPLY, PUSH = "request", "reply", "push"

# What a server sends to a subscriber unasked. In RESP2 it looks like a reply.
SUBSCRIPTIONS = {b"subscribe", b"unsubscribe", b"psubscribe", b"punsubscribe", b"ssubscribe", b"sunsubscribe"}
PUBLISHED = SUBSCRIPTIONS | {b"message", b"pmessage", b"smessage"}


@dataclass
class Message:
    """A request, a reply or a push of one connection.

    `command` is the request as a list of words; of a reply, the request that it answers. The end of a stream
    is a message without bytes. Bytes that are not the protocol's (TLS, replication) have no command.
    """

    kind: str
    data: bytes
    connection: Any
    command: list = field(default_factory=list)
    due: float = 0.0

    @property
    def value(self):
        """The parsed message."""
        return resp.parse(self.data)

    def is_command(self, words):
        """Return whether the command begins with these words, such as `b"CLIENT TRACKING"`."""
        return starts_with(self.command, words)


def starts_with(command, words):
    wanted = words.upper().split()
    return [word.upper() for word in command[: len(wanted)]] == wanted


class Framer:
    """Cuts a stream into messages. Once it is `opaque`, it passes on the bytes as they come."""

    def __init__(self):
        self.opaque = False
        self._rest = bytearray()

    def feed(self, data):
        """Yield the messages that are complete with these bytes."""
        self._rest += data
        while self._rest:
            if self.opaque or self._rest[0] < b" "[0]:
                self.opaque = True
                end = len(self._rest)
            else:
                end = resp.message_end(self._rest)
            if end is None:
                return
            message = bytes(self._rest[:end])
            del self._rest[:end]
            yield message
