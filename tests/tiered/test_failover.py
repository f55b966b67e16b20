"""The promise of TieredCache where primaries change: Sentinels and a Cluster."""

import time

import pytest

from support.cache_process import remote_stats
from support.redis_servers.rules import is_data, is_listener, is_peer
from support.redis_servers.waiting import wait_until

STALENESS = 0.3
CLOCK_TICK = 0.002


def boot_time():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def hits_near(cache, key):
    """Return the value of a key, and whether a near copy served it."""
    before = remote_stats(cache)["near_hits"]
    value = cache.get(key)
    return value, remote_stats(cache)["near_hits"] > before


def copy(cache, key, value):
    """Let the cache have a valid near copy of a value."""
    cache.set(key, value)
    wait_until(lambda: hits_near(cache, key) == (value, True), "a near copy")


def wait_until_copied(cache, key, new, acknowledged):
    """Wait for a near copy of the new value; fail if an older one is served beyond the promise."""

    def is_copied():
        start = boot_time()
        value, is_near = hits_near(cache, key)
        assert value == new or not is_near or start < acknowledged + STALENESS + CLOCK_TICK
        return (value, is_near) == (new, True)

    wait_until(is_copied, "a near copy of the new value")


def sentinel_url(sentinels):
    hosts = ",".join(f"{host}:{port}" for host, port in sentinels.sentinel_addresses)
    return f"redis+sentinel://{hosts}/{sentinels.name}"


def cluster_url(cluster):
    return "redis+cluster://" + ",".join(f"{host}:{port}" for host, port in cluster.addresses)


class TestSentinels:
    def test_data_on_the_old_primary_and_listener_on_the_new(self, make_tiered, sentinels):
        cache = make_tiered(sentinel_url(sentinels), MAX_STALENESS=STALENESS)
        copy(cache, "a", 1)
        losses = remote_stats(cache)["losses"]
        new = sentinels.failover()
        # The former primary keeps the old value, and the connections for data may still be there.
        with sentinels.proxies[new].silence(is_peer):
            new.command("SET", ":1:a", 2)
            wait_until_copied(cache, "a", 2, boot_time())
        assert remote_stats(cache)["losses"] > losses
        sentinels.wait_until_settled()

    def test_data_on_the_new_primary_and_listener_on_the_old(self, make_tiered, sentinels):
        # The listener asks the Sentinels so rarely that it does not hear of the failover.
        cache = make_tiered(sentinel_url(sentinels), MAX_STALENESS=60)
        copy(cache, "a", 1)
        old = sentinels.primary
        # Nor does it hear that the former primary ends its connections.
        with sentinels.proxies[old].silence(is_listener):
            new = sentinels.failover()
            sentinels.proxies[old].cut(is_data)
            before = remote_stats(cache)
            new.command("SET", ":1:b", 2)
            assert wait_until(lambda: cache.get("b"), "an answer of the new primary") == 2
            assert hits_near(cache, "b") == (2, False)
            after = remote_stats(cache)
            assert after["fills"] == before["fills"]
            assert after["refused_unarmed"] > before["refused_unarmed"]
        wait_until(lambda: hits_near(cache, "b") == (2, True), "a near copy")

    def test_primary_that_is_killed(self, make_tiered, sentinels):
        cache = make_tiered(sentinel_url(sentinels), MAX_STALENESS=STALENESS, ON_ERROR="miss")
        copy(cache, "a", 1)
        dead = sentinels.primary
        new = sentinels.kill_primary()
        try:
            new.command("SET", ":1:a", 2)
            wait_until_copied(cache, "a", 2, boot_time())
        finally:
            dead.start()
            sentinels.wait_until_settled()


class TestCluster:
    def test_slot_that_moves(self, make_tiered, cluster):
        cache = make_tiered(cluster_url(cluster), MAX_STALENESS=STALENESS)
        copy(cache, "a", 1)
        slot = cluster.slot(":1:a")
        for value in range(2, 5):
            target = cluster.move_slot(slot)
            target.command("SET", ":1:a", value)
            wait_until_copied(cache, "a", value, boot_time())

    def test_value_that_is_read_from_a_slot_while_it_moves(self, make_tiered, cluster):
        cache = make_tiered(cluster_url(cluster), MAX_STALENESS=STALENESS)
        copy(cache, "a", 1)
        slot = cluster.slot(":1:a")
        target = next(node for node in cluster.primaries if node is not cluster.owner(slot))
        cluster.start_moving(slot, target)
        cluster.move_keys(slot, target)
        # The key is at the target, to which the owner sends its clients by ASK.
        with target.client() as client:
            client.send("ASKING")
            client.send("SET", ":1:a", 2)
            assert [client.receive(), client.receive()] == [b"OK", b"OK"]
        acknowledged = boot_time()
        while (start := boot_time()) < acknowledged + 3 * STALENESS:
            value = cache.get("a")
            assert value == 2 or start < acknowledged + STALENESS + CLOCK_TICK
        cluster.end_moving(slot, target)
        wait_until_copied(cache, "a", 2, acknowledged)

    def test_replica_that_takes_over(self, make_tiered, cluster):
        cache = make_tiered(cluster_url(cluster), MAX_STALENESS=STALENESS)
        copy(cache, "a", 1)
        new = cluster.failover(cluster.owner_of_key(":1:a"))
        new.command("SET", ":1:a", 2)
        wait_until_copied(cache, "a", 2, boot_time())

    @pytest.mark.parametrize("near", ["local", "shared"])
    def test_shard_that_joins_later(self, make_tiered, cluster, near):
        cache = make_tiered(cluster_url(cluster), NEAR=near, MAX_STALENESS=STALENESS)
        copy(cache, "a", 1)
        joined = cluster.add_primary()
        cluster.move_slot(cluster.slot(":1:a"), joined)
        for value in range(2, 5):
            # Written at the new shard, of which the listener has to hear.
            joined.command("SET", ":1:a", value)
            wait_until_copied(cache, "a", value, boot_time())
