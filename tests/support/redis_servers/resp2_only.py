"""Servers that know less than TieredCache needs: no RESP3, or no client-side caching."""

from support.redis_servers.messages import REPLY
from support.redis_servers.proxy import Proxy

NO_PROTOCOL = b"-NOPROTO unsupported protocol version\r\n"
NO_HELLO = b"-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n"
NO_TRACKING = b"-ERR Unknown subcommand or wrong number of arguments for 'TRACKING'. Try CLIENT HELP.\r\n"
OLD_VERSION = b"5.0.14"


class Resp2Proxy(Proxy):
    """A proxy that speaks RESP2 only and has no CLIENT command, as Envoy and others in front of a Cluster."""

    def __init__(self, target, **options):
        super().__init__(target, **options)
        self.answer(b"HELLO", NO_PROTOCOL)
        self.answer(b"CLIENT", b"-ERR unsupported command 'client'\r\n")


class ClosingProxy(Proxy):
    """A proxy that closes the connection at commands that it does not know, as twemproxy does."""

    def __init__(self, target, **options):
        super().__init__(target, **options)
        for command in (b"HELLO", b"CLIENT"):
            self.on_request(command, self._close)

    def _close(self, message):
        self.cut(lambda connection: connection is message.connection)


class OldServer(Proxy):
    """A server that looks like Redis 5, without HELLO and CLIENT TRACKING; INFO tells that version."""

    def __init__(self, target, **options):
        super().__init__(target, **options)
        self.answer(b"HELLO", NO_HELLO)
        self.answer(b"CLIENT TRACKING", NO_TRACKING)
        self.on_reply(b"INFO", self._change_version)

    @staticmethod
    def _change_version(message):
        assert message.kind == REPLY
        lines = message.value.split(b"\r\n") if isinstance(message.value, bytes) else []
        told = [b"redis_version:" + OLD_VERSION if x.startswith(b"redis_version:") else x for x in lines]
        # valkey_version and server_name are newer than what this imitates.
        text = b"\r\n".join(x for x in told if not x.startswith((b"valkey_", b"server_name:")))
        message.data = b"$%d\r\n%b\r\n" % (len(text), text)
