"""What a proxy does to the messages that pass."""

import threading

from support.redis_servers.messages import PUSH, REPLY, REQUEST
from support.redis_servers.waiting import TIMEOUT_SECONDS


def is_listener(connection):
    """Return whether a connection has asked for invalidations."""
    return connection.has_sent(b"CLIENT TRACKING")


def is_data(connection):
    """Return whether a connection is a client's, and has not asked for invalidations."""
    return not is_listener(connection) and not is_peer(connection)


def is_peer(connection):
    """Return whether a connection is a replica's or a Sentinel's."""
    return connection.has_sent(b"REPLCONF") or connection.has_sent(b"CLIENT SETNAME sentinel-")


class Rule:
    """Applies to messages of some kinds, commands and connections, until `release` or the end of its `with`.

    `seen` counts the messages that it applied to, and `passed` those that were then sent on.
    """

    def __init__(self, proxy, kinds, command=None, where=None):
        self._proxy = proxy
        self.kinds = kinds or (REQUEST, REPLY, PUSH)
        self.command = command
        self.where = where
        self.seen = self.passed = 0
        self._counted = threading.Condition()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.release()

    def matches(self, message):
        return (
            message.kind in self.kinds
            and (self.command is None or message.is_command(self.command))
            and (self.where is None or self.where(message.connection))
        )

    def count(self, *, seen=0, passed=0):
        with self._counted:
            self.seen += seen
            self.passed += passed
            self._counted.notify_all()

    def wait_seen(self, number=1, timeout=TIMEOUT_SECONDS):
        """Wait until the rule has applied to this many messages in all."""
        self._wait(lambda: self.seen >= number, f"{number} seen", timeout)

    def wait_passed(self, number=1, timeout=TIMEOUT_SECONDS):
        """Wait until this many messages in all were sent on after the rule had applied."""
        self._wait(lambda: self.passed >= number, f"{number} passed", timeout)

    def _wait(self, condition, what, timeout):
        with self._counted:
            if not self._counted.wait_for(condition, timeout):
                raise TimeoutError(f"not within {timeout} s: {what} (seen {self.seen}, passed {self.passed})")

    def release(self):
        """End the rule: what it held goes on, in order."""
        self._proxy.remove(self)


class Watch(Rule):
    """Counts messages."""


class Delay(Rule):
    """Sends messages on so many seconds after they came. Later messages do not wait longer for it."""

    def __init__(self, proxy, seconds, *selection):
        super().__init__(proxy, *selection)
        self.seconds = seconds


class Hold(Rule):
    """Keeps messages, and all that follow in the same direction of their connection, until `release`."""


class Hook(Rule):
    """Calls a function with each message before it is sent on. The function may change `message.data`.

    The function runs in a thread of its own, so it may use the proxy and the server. Only this direction of
    this connection waits for it.
    """

    def __init__(self, proxy, callback, *selection):
        super().__init__(proxy, *selection)
        self.callback = callback


class Answer(Rule):
    """Answers requests in the server's place; the server gets a PING, which keeps the order of replies."""

    def __init__(self, proxy, reply, *selection):
        super().__init__(proxy, *selection)
        self.reply = reply


class Silence(Rule):
    """Reads all that comes and drops it. At `release`, the connections that lost bytes are reset."""

    def release(self):
        super().release()
        self._proxy.cut(lambda connection: connection.lost_bytes)
