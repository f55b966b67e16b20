"""The protocol of Redis and Valkey: messages in bytes, and a small client.

It is independent of the client under test and of redis-py.
"""

import socket

CRLF = b"\r\n"
LENGTH_PREFIXED = b"$!="
AGGREGATES = {b"*"[0]: 1, b"~"[0]: 1, b">"[0]: 1, b"%"[0]: 2}
ATTRIBUTE = b"|"[0]


class ReplyError(Exception):
    """The server answered with an error."""


def encode(*arguments):
    """Return the bytes of a command. Arguments are bytes, or something whose `str` is sent."""
    words = [word if isinstance(word, bytes) else str(word).encode() for word in arguments]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def message_end(buffer, start=0):
    """Return where the message ends that begins at `start`, or None if the rest has not arrived."""
    position, pending = start, 1
    while pending:
        newline = buffer.find(CRLF, position)
        if newline < 0:
            return None
        kind, line = buffer[position], buffer[position + 1 : newline]
        position = newline + len(CRLF)
        pending -= 1
        if kind in LENGTH_PREFIXED:
            if (length := int(line)) >= 0:
                position += length + len(CRLF)
            if position > len(buffer):
                return None
        elif kind in AGGREGATES:
            pending += max(int(line), 0) * AGGREGATES[kind]
        elif kind == ATTRIBUTE:
            pending += int(line) * 2 + 1
    return position


def parse(message):
    """Return the value of a complete message: bytes, int, float, bool, None, list, dict or `ReplyError`.

    A push is a list. An inline command is a list of words.
    """
    return _parse(bytes(message), 0)[0]


def _parse(message, start):
    newline = message.index(CRLF, start)
    kind, line = message[start : start + 1], message[start + 1 : newline]
    position = newline + len(CRLF)
    if kind in {b"$", b"!", b"="}:
        if (length := int(line)) < 0:
            return None, position
        text = message[position : position + length]
        value = ReplyError(text.decode()) if kind == b"!" else text[4 if kind == b"=" else 0 :]
        return value, position + length + len(CRLF)
    if kind in {b"*", b"~", b">", b"%"}:
        if (count := int(line)) < 0:
            return None, position
        values = []
        for _ in range(count * AGGREGATES[kind[0]]):
            value, position = _parse(message, position)
            values.append(value)
        return dict(zip(values[::2], values[1::2], strict=True)) if kind == b"%" else values, position
    if kind == b"|":
        for _ in range(int(line) * 2):
            position = _parse(message, position)[1]
        return _parse(message, position)
    return _scalar(kind, line), position


def _scalar(kind, line):
    if kind == b"+":
        return line
    if kind == b"-":
        return ReplyError(line.decode())
    if kind in {b":", b"("}:
        return int(line)
    if kind == b",":
        return float(line)
    if kind == b"#":
        return line == b"t"
    return None if kind == b"_" else (kind + line).split()


class Client:
    """One connection: commands go out, replies come back. `with` closes it."""

    def __init__(self, address, *, protocol=2, username=None, password=None, ssl=None, timeout=10):
        """Connect to a unix socket's path or to a pair of host and port, and log in."""
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self._received = bytearray()
        try:
            self.socket.settimeout(timeout)
            self.socket.connect(address)
            if ssl is not None:
                self.socket = ssl.wrap_socket(self.socket, server_hostname="localhost")
            if password is not None:
                self.command("AUTH", *([username] if username else []), password)
            if protocol != 2:
                self.command("HELLO", protocol)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def command(self, *arguments):
        """Send a command and return its reply; raise `ReplyError` if that is an error."""
        self.send(*arguments)
        return self.receive()

    def send(self, *arguments):
        """Send a command without waiting for the reply."""
        self.socket.sendall(encode(*arguments))

    def receive(self):
        """Return the next reply or push; raise `ReplyError` if it is an error."""
        while (end := message_end(self._received)) is None:
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionResetError("the server closed the connection")
            self._received += data
        value = parse(self._received[:end])
        del self._received[:end]
        if isinstance(value, ReplyError):
            raise value
        return value

    def close(self):
        self.socket.close()
