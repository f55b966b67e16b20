"""A primary with replicas, watched by Sentinels."""

import contextlib

from support.redis_servers.proxy import Proxy
from support.redis_servers.resp import ReplyError
from support.redis_servers.standalone import Server
from support.redis_servers.waiting import wait_until

DOWN_AFTER_MS = 300
QUORUM = 2
FAILOVER_MS = 1500
# How often a Sentinel asks and tells; by default INFO goes out every ten seconds. Since Redis 7.
# While the primary is down, replicas are asked once a second, and one is promoted only if it has answered
# within five times `ping-period`. A Sentinel that sees a replica become a primary, and is not told why within
# four times `publish-period`, makes it a replica again.
PERIODS_MS = {
    "info-period": 100,
    "ping-period": 300,
    "ask-period": 50,
    "publish-period": 500,
    "election-timeout": 1000,
    "min-link-reconnect-period": 50,
}


class Sentinels:
    """One primary, two replicas and three Sentinels. `with` ends them.

    Attributes: `nodes` (servers), `sentinels` (servers), `sentinel_addresses`, `name`, and `proxies`: a dict
    of a node to its proxy, if `proxied`. Then Sentinels tell clients the ports of the proxies.
    """

    name = "mymaster"

    def __init__(self, flavour=None, *, proxied=False, password=None, **config):
        """Start all, and wait until each Sentinel knows all others."""
        self._stack = contextlib.ExitStack()
        self.nodes, self.sentinels, self.proxies = [], [], {}
        self._flavour, self._password, self._config = flavour, password, config
        try:
            self._start(proxied)
        except BaseException:
            self.close()
            raise

    def _start(self, proxied):
        for _ in range(3):
            self._add_node(proxied)
        for _ in range(3):
            self._add_sentinel()
        self.wait_until_settled()

    def _add_node(self, proxied):
        settings = {"password": self._password, "repl_diskless_sync": "yes", **self._config}
        node = self._stack.enter_context(Server(self._flavour, **settings))
        self.nodes.append(node)
        if proxied:
            self.proxies[node] = self._stack.enter_context(Proxy(node.address))
            node.command("CONFIG", "SET", "replica-announce-port", self.proxies[node].port)
            node.command("CONFIG", "SET", "replica-announce-ip", "127.0.0.1")
        if self._password is not None:
            node.command("CONFIG", "SET", "masterauth", self._password)
        node.command("CONFIG", "REWRITE")  # for a restart
        if node is not self.nodes[0]:
            node.command("REPLICAOF", "127.0.0.1", self.port_of(self.nodes[0]))

    def _add_sentinel(self):
        lines = [
            f"monitor {self.name} 127.0.0.1 {self.port_of(self.nodes[0])} {QUORUM}",
            f"down-after-milliseconds {self.name} {DOWN_AFTER_MS}",
            f"failover-timeout {self.name} {FAILOVER_MS}",
            f"parallel-syncs {self.name} 2",
        ]
        if self._password is not None:
            lines.append(f"auth-pass {self.name} {self._password}")
        sentinel = self._stack.enter_context(Server(self._flavour, is_sentinel=True, sentinel=lines))
        self.sentinels.append(sentinel)
        if sentinel.flavour.version >= (7,):
            for name, milliseconds in PERIODS_MS.items():
                sentinel.command("SENTINEL", "DEBUG", name, milliseconds)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._stack.close()

    @property
    def sentinel_addresses(self):
        return [sentinel.address for sentinel in self.sentinels]

    def port_of(self, node):
        """Return the port under which clients find a node."""
        return self.proxies.get(node, node).port

    @property
    def primary(self):
        """The node that the Sentinels call the primary."""
        running = next(sentinel for sentinel in self.sentinels if sentinel.is_running)
        return self._primary_of(running)

    def _primary_of(self, sentinel):
        _, port = sentinel.command("SENTINEL", "get-master-addr-by-name", self.name)
        return next(node for node in self.nodes if self.port_of(node) == int(port))

    @property
    def replicas(self):
        """The nodes that run and are not the primary."""
        primary = self.primary
        return [node for node in self.nodes if node is not primary and node.is_running]

    def failover(self):
        """Have the Sentinels promote a replica while the primary lives; return the new primary."""
        return self._until_changed(self._ask_for_failover)

    def kill_primary(self):
        """Kill the primary; return the new one. The old one may be started again."""
        return self._until_changed(self.primary.kill)

    def _until_changed(self, action):
        before = self.primary
        action()
        wait_until(lambda: all(x is not before for x in self._primaries()), "another primary")
        self.wait_until_settled()
        return self.primary

    def _ask_for_failover(self):
        def ask():
            try:
                return self.sentinels[0].command("SENTINEL", "FAILOVER", self.name)
            except ReplyError:  # NOGOODSLAVE or INPROG: not yet
                return False

        wait_until(ask, "a Sentinel that accepts a failover")

    def _primaries(self):
        return [self._primary_of(sentinel) for sentinel in self.sentinels if sentinel.is_running]

    def wait_until_settled(self):
        """Wait until all Sentinels agree, and all nodes that run follow the primary."""
        wait_until(self._is_settled, "Sentinels that agree")

    def _is_settled(self):
        primaries = self._primaries()
        if len(set(primaries)) != 1 or primaries[0].info("replication")["role"] != "master":
            return False
        replicas = [node for node in self.nodes if node.is_running and node is not primaries[0]]
        return all(self._follows(node, primaries[0]) for node in replicas) and all(
            self._knows(sentinel, len(replicas)) for sentinel in self.sentinels if sentinel.is_running
        )

    def _follows(self, node, primary):
        state = node.info("replication")
        return (
            state["role"] == "slave"
            and state["master_port"] == str(self.port_of(primary))
            and state["master_link_status"] == "up"
        )

    def _knows(self, sentinel, replicas):
        fields = sentinel.command("SENTINEL", "MASTER", self.name)
        state = dict(zip(fields[::2], fields[1::2], strict=True))
        return (
            state[b"flags"] == b"master"
            and int(state[b"num-other-sentinels"]) >= sum(x.is_running for x in self.sentinels) - 1
            and int(state[b"num-slaves"]) >= replicas
        )
