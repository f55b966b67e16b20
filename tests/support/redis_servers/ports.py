"""Chooses ports that stay free while a server is down."""

import random
import socket

# Below the ports that the kernel gives to outgoing connections, so that a server that restarts finds its port
# free. The bus of a Cluster's node listens 10000 above the node's port, which is below them, too.
FIRST, LAST = 10_000, 21_999
BUS = 10_000

_random = random.SystemRandom()
# A cache lives as long as its process, so one of an earlier test may still try to reach its server.
_used = set()


def free_port():
    """Return a port that is free, whose bus port is, and that no server of this process has had."""
    while True:
        port = _random.randint(FIRST, LAST)
        if port not in _used and _is_free(port) and _is_free(port + BUS):
            _used.add(port)
            return port


def _is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
