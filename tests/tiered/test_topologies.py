"""The Sentinels, the Cluster and the TLS servers of the tests do what the tests of TieredCache rely on."""

import ssl

import pytest

from support.redis_servers import resp
from support.redis_servers.resp2_only import ClosingProxy, OldServer, Resp2Proxy
from support.redis_servers.waiting import wait_until


def test_tls_server_takes_tls_only(tls_server):
    with resp.Client(tls_server.address, ssl=tls_server.certificates.client_context()) as client:
        assert client.command("SET", "a", 1) == b"OK"
        assert client.command("GET", "a") == b"1"
    with pytest.raises(ssl.SSLCertVerificationError):
        resp.Client(tls_server.address, ssl=ssl.create_default_context())
    with resp.Client(tls_server.address) as plain, pytest.raises(ConnectionError):
        plain.command("PING")


def test_proxy_without_resp3_refuses_it(server):
    with Resp2Proxy(server.address) as proxy, resp.Client(proxy.address) as client:
        with pytest.raises(resp.ReplyError, match="NOPROTO"):
            client.command("HELLO", 3)
        with pytest.raises(resp.ReplyError, match="unsupported"):
            client.command("CLIENT", "TRACKING", "ON")
        assert client.command("SET", "a", 1) == b"OK"


def test_proxy_that_closes_the_connection(server):
    with ClosingProxy(server.address) as proxy, resp.Client(proxy.address) as client:
        assert client.command("PING") == b"PONG"
        with pytest.raises(ConnectionError):
            client.command("HELLO", 3)


def test_old_server_knows_no_hello(server):
    with OldServer(server.address) as proxy, resp.Client(proxy.address) as client:
        with pytest.raises(resp.ReplyError, match="unknown command"):
            client.command("HELLO", 3)
        with pytest.raises(resp.ReplyError, match="Unknown subcommand"):
            client.command("CLIENT", "TRACKING", "ON")
        assert b"redis_version:5.0.14" in client.command("INFO", "server")
        assert b"valkey_version" not in client.command("INFO", "server")


class TestSentinels:
    def test_clients_find_the_primary_behind_its_proxy(self, sentinels):
        primary = sentinels.primary
        for address in sentinels.sentinel_addresses:
            with resp.Client(address) as sentinel:
                told = sentinel.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", sentinels.name)
            assert told == [b"127.0.0.1", str(sentinels.proxies[primary].port).encode()]

    def test_a_replica_takes_over(self, sentinels):
        before = sentinels.primary
        before.command("SET", "a", 1)
        wait_until(lambda: all(x.command("GET", "a") for x in sentinels.replicas), "replicated")
        after = sentinels.kill_primary()
        assert after is not before
        assert after.command("GET", "a") == b"1"
        before.start()
        sentinels.wait_until_settled()
        assert before in sentinels.replicas


class TestCluster:
    def test_is_complete(self, cluster):
        assert len(cluster.primaries) == 3
        assert [len(cluster.replicas_of(primary)) for primary in cluster.primaries] == [1, 1, 1]

    def test_tells_clients_the_proxies(self, cluster):
        owner = cluster.owner_of_key("a")
        other = next(x for x in cluster.primaries if x is not owner)
        with (
            resp.Client(cluster.proxies[other].address) as client,
            pytest.raises(
                resp.ReplyError, match=f"MOVED {cluster.slot('a')} .*:{cluster.proxies[owner].port}"
            ),
        ):
            client.command("GET", "a")

    def test_moves_a_slot_with_its_keys(self, cluster):
        keys = [f"{{a}}{number}" for number in range(250)]
        for key in keys:
            cluster.command("SET", key, key)
        before = cluster.owner_of_key("a")
        after = cluster.move_slot(cluster.slot("a"))
        assert cluster.owner_of_key("a") is after
        assert after is not before
        with after.client() as client:
            assert [client.command("GET", key) for key in keys] == [key.encode() for key in keys]

    def test_a_replica_takes_over(self, cluster):
        before = cluster.owner_of_key("a")
        replica = cluster.failover(before)
        assert cluster.owner_of_key("a") is replica
        assert cluster.replicas_of(replica) == [before]

    def test_a_primary_joins_and_another_dies(self, cluster):
        joined = cluster.add_primary()
        cluster.move_slot(cluster.slot("b"), joined)
        assert cluster.owner_of_key("b") is joined
        dead = next(x for x in cluster.primaries if x is not joined)
        replaced = cluster.kill(dead)
        assert replaced in cluster.primaries
        dead.start()
        cluster.wait_until_ok()
        assert cluster.replicas_of(replaced) == [dead]
