"""A Cluster, made by commands: redis-cli is not needed."""

import contextlib

from support.redis_servers.proxy import Proxy
from support.redis_servers.resp import ReplyError
from support.redis_servers.standalone import Server
from support.redis_servers.waiting import wait_until

SLOTS = 16384
NODE_TIMEOUT_MS = 500
KEYS_AT_ONCE = 100
MOVE_MS = 5000


class Cluster:
    """Three primaries with a replica each. `with` ends them.

    Attributes: `nodes` (servers), `proxies`: a dict of a node to its proxy, if `proxied`. Then nodes tell
    clients the ports of the proxies.
    """

    def __init__(self, flavour=None, *, primaries=3, proxied=False, **config):
        """Start all, and wait until each node says that the Cluster is complete."""
        self._stack = contextlib.ExitStack()
        self._flavour, self._proxied, self._config = flavour, proxied, config
        self.nodes, self.proxies = [], {}
        try:
            self._start(primaries)
        except BaseException:
            self.close()
            raise

    def _start(self, count):
        for _ in range(2 * count):
            self._start_node()
        primaries, replicas = self.nodes[:count], self.nodes[count:]
        for number, node in enumerate(primaries):
            first, last = number * SLOTS // count, (number + 1) * SLOTS // count - 1
            self._add_slots(node, first, last)
            # Otherwise two of them may have the same epoch, which takes them seconds to resolve.
            node.command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in self.nodes[1:]:
            self._introduce(node)
        self._wait_until_known()
        for primary, replica in zip(primaries, replicas, strict=True):
            replica.command("CLUSTER", "REPLICATE", id_of(primary))
        self.wait_until_ok()

    @staticmethod
    def _add_slots(node, first, last):
        if node.flavour.version >= (7,):
            node.command("CLUSTER", "ADDSLOTSRANGE", first, last)
        else:
            node.command("CLUSTER", "ADDSLOTS", *range(first, last + 1))

    def _start_node(self):
        settings = {
            "cluster_enabled": "yes",
            "cluster_config_file": "nodes.conf",
            "cluster_node_timeout": NODE_TIMEOUT_MS,
            "cluster_replica_validity_factor": 0,
            "cluster_announce_ip": "127.0.0.1",
            # Replicas would move to a primary that has none.
            "cluster_allow_replica_migration": "no",
            **self._config,
        }
        node = self._stack.enter_context(Server(self._flavour, **settings))
        self.nodes.append(node)
        if self._proxied:
            self.proxies[node] = self._stack.enter_context(Proxy(node.address))
            node.command("CONFIG", "SET", "cluster-announce-port", self.proxies[node].port)
            node.command("CONFIG", "REWRITE")  # for a restart
        return node

    def _introduce(self, node):
        self.nodes[0].command("CLUSTER", "MEET", "127.0.0.1", self.port_of(node), node.port + 10_000)

    def _wait_until_known(self):
        count = len(self.nodes)
        wait_until(lambda: all(self._knows(x, count) for x in self.nodes), "nodes that know each other")

    @staticmethod
    def _knows(node, count):
        rows = rows_of(node)
        return len(rows) == count and not any("handshake" in row[2] for row in rows)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._stack.close()

    @property
    def running(self):
        return [node for node in self.nodes if node.is_running]

    @property
    def addresses(self):
        """The addresses under which clients find the nodes that run."""
        return [("127.0.0.1", self.port_of(node)) for node in self.running]

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.addresses[0][1]}"

    def port_of(self, node):
        """Return the port under which clients find a node."""
        return self.proxies.get(node, node).port

    @property
    def primaries(self):
        """The nodes that run and are primaries."""
        return [node for node in self.running if is_primary(node)]

    def replicas_of(self, primary):
        """Return the running replicas of a primary."""
        name = id_of(primary)
        return [node for node in self.running if name in own_row(node)[3]]

    def owner(self, slot):
        """Return the primary that has a slot."""
        return next(node for node in self.primaries if slot in slots_of(node))

    def owner_of_key(self, key):
        """Return the primary that has a key."""
        return self.owner(self.slot(key))

    def slot(self, key):
        """Return the slot of a key."""
        return self.running[0].command("CLUSTER", "KEYSLOT", key)

    def command(self, *arguments):
        """Run a command, whose second word is a key, where that key is."""
        return self.owner_of_key(arguments[1]).command(*arguments)

    def start_moving(self, slot, target):
        """Mark a slot as moving: its keys are then at either node, and clients are told by ASK."""
        source = self.owner(slot)
        target.command("CLUSTER", "SETSLOT", slot, "IMPORTING", id_of(source))
        source.command("CLUSTER", "SETSLOT", slot, "MIGRATING", id_of(target))

    def move_keys(self, slot, target):
        """Move the keys of a slot that is marked as moving."""
        source = self.owner(slot)
        while keys := source.command("CLUSTER", "GETKEYSINSLOT", slot, KEYS_AT_ONCE):
            source.command("MIGRATE", "127.0.0.1", target.port, "", 0, MOVE_MS, "KEYS", *keys)

    def end_moving(self, slot, target):
        """Give a slot that is marked as moving to its new owner, and wait until all nodes know."""
        source = self.owner(slot)
        # The new owner first, and its replicas may have to have confirmed it.
        for node in (target, source, *(x for x in self.primaries if x not in (target, source))):
            try:
                node.command("CLUSTER", "SETSLOT", slot, "NODE", id_of(target))
            except ReplyError as error:
                # A node that has become a replica meanwhile learns it from its primary.
                if node is target or "only with masters" not in str(error):
                    raise
        wait_until(lambda: self._all_agree_on(slot, target), f"slot {slot} at its new owner")

    def _all_agree_on(self, slot, target):
        return all(owner_according_to(node, slot) == id_of(target) for node in self.running)

    def move_slot(self, slot, target=None):
        """Move a slot with its keys to another primary; return that one."""
        target = target or next(node for node in self.primaries if node is not self.owner(slot))
        self.start_moving(slot, target)
        self.move_keys(slot, target)
        self.end_moving(slot, target)
        return target

    def move_slots(self, slots, target=None):
        """Move several slots."""
        for slot in slots:
            self.move_slot(slot, target)

    def add_primary(self):
        """Let a primary without slots join; return it."""
        node = self._start_node()
        self._introduce(node)
        count = len(self.running)
        wait_until(lambda: all(self._knows(x, count) for x in self.running), "the new node known to all")
        self.wait_until_ok()
        return node

    def failover(self, primary):
        """Let a replica take the place of its primary, which becomes its replica; return the new one."""
        replica = self.replicas_of(primary)[0]

        def promote():
            if is_primary(replica):
                return True
            # Refused while the replica is not connected; given up without a word if the others do not vote.
            with contextlib.suppress(ReplyError):
                replica.command("CLUSTER", "FAILOVER")
            with contextlib.suppress(TimeoutError):
                wait_until(lambda: is_primary(replica), "a promotion", timeout=2)
            return is_primary(replica)

        wait_until(promote, "another primary")
        wait_until(lambda: not is_primary(primary), "the old primary is a replica")
        self.wait_until_ok()
        return replica

    def kill(self, primary):
        """Kill a primary, and wait until its replica has taken its place; return the new one."""
        replica = self.replicas_of(primary)[0]
        primary.kill()
        wait_until(lambda: is_primary(replica), "another primary")
        self.wait_until_ok()
        return replica

    def wait_until_ok(self):
        """Wait until every node that runs says that all slots are served, and replicas are connected."""
        wait_until(lambda: all(self._is_ok(node) for node in self.running), "cluster_state:ok everywhere")

    def _is_ok(self, node):
        if b"cluster_state:ok" not in node.command("CLUSTER", "INFO"):
            return False
        state = node.info("replication")
        roles = {row[0]: "master" in row[2] for other in self.running for row in [own_row(other)]}
        agreed = all(("master" in row[2]) == roles.get(row[0], "master" in row[2]) for row in rows_of(node))
        return agreed and (state["role"] == "master" or state["master_link_status"] == "up")


def rows_of(node):
    """Return the rows of CLUSTER NODES as lists of words: id, address, flags, primary's id, ..., slots."""
    return [line.split() for line in node.command("CLUSTER", "NODES").decode().splitlines()]


def own_row(node):
    return next(row for row in rows_of(node) if "myself" in row[2])


def id_of(node):
    return node.command("CLUSTER", "MYID").decode()


def is_primary(node):
    return "master" in own_row(node)[2]


def slots_of(node):
    """Return the slots that a node says it has, as a set."""
    return _slots_in(own_row(node))


def owner_according_to(node, slot):
    """Return the id of the owner of a slot, as a node knows it, or None."""
    return next((row[0] for row in rows_of(node) if slot in _slots_in(row)), None)


def _slots_in(row):
    found = set()
    for word in row[8:]:
        if not word.startswith("["):  # a slot that is moving
            first, _, last = word.partition("-")
            found.update(range(int(first), int(last or first) + 1))
    return found
