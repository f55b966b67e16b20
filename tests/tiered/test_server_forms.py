"""Every form of server: how it is reached, who logs in, and what it lacks."""

import asyncio

import pytest

from nearcache.django.errors import (
    RemoteAuthenticationError,
    RemoteConnectionError,
    RemoteError,
    RemoteResponseError,
)
from support.redis_servers.resp2_only import ClosingProxy, OldServer, Resp2Proxy
from support.redis_servers.standalone import Server
from support.redis_servers.tls import Certificates, TlsServer
from support.redis_servers.waiting import wait_until
from support.tiered import cluster_url, sentinel_url, tiered


def use(cache):
    """Use most of the API, by threads and by tasks."""
    cache.set("key", {"a": [1, 2.5, None]}, 60)
    assert cache.get("key") == {"a": [1, 2.5, None]}
    assert cache.add("number", 1)
    assert not cache.add("number", 2)
    assert cache.incr("number", 2) == 3
    assert 0 < cache.ttl("key") <= 60
    assert cache.touch("key", 90)
    cache.set_many({f"many{number}": number for number in range(20)})
    assert cache.get_many([f"many{number}" for number in range(25)]) == {f"many{n}": n for n in range(20)}
    assert sorted(cache.iter_keys("many1?")) == [f"many{number}" for number in range(10, 20)]
    assert cache.delete_pattern("many*") == 20
    with cache.lock("lock", timeout=9):
        assert not cache.lock("lock").acquire(blocking=False)
    assert asyncio.run(use_async(cache)) == 4
    assert cache.delete("key")
    assert not cache.has_key("key")
    cache.clear()
    assert cache.keys("*") == []


async def use_async(cache):
    await cache.aset_many({"one": 1, "two": 2})
    assert await cache.aget_many(["one", "two", "three"]) == {"one": 1, "two": 2}
    async with cache.alock("lock", timeout=9) as lock:
        assert await lock.owned()
    await cache.adelete_many(["one", "two"])
    return await cache.aincr("number")


def wait_for_near_copy(cache):
    """Wait until a near copy of a key is served."""
    cache.set("near", 1)
    before = cache.stats().remote.near_hits
    wait_until(lambda: cache.get("near") == 1 and cache.stats().remote.near_hits > before, "a near copy")
    assert cache.stats().remote.near_problem is None


def near_problem(cache):
    """Wait until the near tier says why it does not work; return that."""
    cache.get("near")
    problem = wait_until(lambda: cache.stats().remote.near_problem, "a problem of the near tier")
    assert not cache.stats().remote.near_open
    for _ in range(5):
        cache.set("near", 1)
        assert cache.get("near") == 1
    assert cache.stats().remote.near_hits == 0
    return problem


class TestAddress:
    def test_unix_socket(self, server):
        cache = tiered(server.unix_url)
        wait_for_near_copy(cache)
        use(cache)

    @pytest.mark.parametrize("form", ["{}/3", "{}?db=3", "{}"], ids=["path", "query", "option"])
    def test_database(self, server, form):
        base = f"redis://127.0.0.1:{server.port}"
        options = {"DB": 3} if form == "{}" else {}
        cache = tiered(form.format(base), **options)
        wait_for_near_copy(cache)
        use(cache)
        cache.set("key", 1)
        with server.client() as client:
            assert client.command("EXISTS", ":1:key") == 0
            client.command("SELECT", 3)
            assert client.command("GET", ":1:key") == b"1"
            # Its near copy is invalidated by writes in its database.
            wait_for_near_copy(cache)
            client.command("SET", ":1:near", 2)
            wait_until(lambda: cache.get("near") == 2, "invalidated")

    def test_databases_do_not_share_copies(self, server):
        first, second = (tiered(f"redis://127.0.0.1:{server.port}/{db}") for db in (1, 2))
        wait_for_near_copy(first)
        assert second.get("near") is None

    def test_name_and_ipv4(self, server):
        for host in ("localhost", "127.0.0.1"):
            use(tiered(f"redis://{host}:{server.port}"))

    @pytest.mark.parametrize("scheme", ["redis", "valkey"])
    def test_both_schemes(self, server, scheme):
        use(tiered(f"{scheme}://127.0.0.1:{server.port}/0"))


class TestLogin:
    def test_password(self, flavour):
        with Server(flavour, password="p@ss w:/?rd") as server:
            cache = tiered(server.url)
            wait_for_near_copy(cache)
            use(cache)
            use(tiered(server.unix_url))
            use(tiered(f"redis://127.0.0.1:{server.port}", PASSWORD="p@ss w:/?rd"))

    def test_user(self, flavour):
        with Server(flavour, users=["alice on >secret ~* &* +@all", "default off"], password=None) as server:
            cache = tiered(f"redis://alice:secret@127.0.0.1:{server.port}")
            wait_for_near_copy(cache)
            use(cache)
            use(tiered(f"redis://127.0.0.1:{server.port}", USERNAME="alice", PASSWORD="secret"))

    @pytest.mark.parametrize(
        ("rules", "problem"),
        [("-info", "info"), ("-client|tracking", "client|tracking"), ("-client", "client")],
    )
    def test_user_without_what_the_near_tier_needs(self, flavour, rules, problem):
        with Server(flavour, users=[f"alice on >secret ~* &* +@all {rules}"]) as server:
            cache = tiered(f"redis://alice:secret@127.0.0.1:{server.port}", KEY_PREFIX=problem)
            shown = near_problem(cache)
            assert problem in shown.lower()
            assert "NOPERM" in shown or "permission" in shown
            assert f"127.0.0.1:{server.port}" in shown
            use(cache)

    def test_user_of_some_keys_only(self, flavour):
        with Server(flavour, users=["alice on >secret ~app:* &* +@all"]) as server:
            url = f"redis://alice:secret@127.0.0.1:{server.port}"
            own = tiered(url, KEY_PREFIX="app")
            own.set("key", 1)
            assert own.get("key", 1) == 1
            with pytest.raises(RemoteAuthenticationError, match="NOPERM"):
                tiered(url, KEY_PREFIX="other").set("key", 1)

    @pytest.mark.parametrize("user", ["", "alice"])
    def test_wrong_password(self, flavour, user):
        with Server(flavour, password="right", users=["alice on >right ~* &* +@all"]) as server:
            cache = tiered(f"redis://{user}:Wr0ngSecret@127.0.0.1:{server.port}", KEY_PREFIX=user)
            for call in (lambda: cache.get("a"), lambda: asyncio.run(cache.aget("a"))):
                with pytest.raises(RemoteAuthenticationError, match=f":{server.port}") as raised:
                    call()
                assert "refused the user or password" in str(raised.value)
                assert "Wr0ngSecret" not in str(raised.value)
            problem = wait_until(lambda: cache.stats().remote.near_problem, "a problem")
            assert "Wr0ngSecret" not in problem

    def test_no_password(self, flavour):
        with Server(flavour, password="right") as server:
            cache = tiered(f"redis://127.0.0.1:{server.port}")
            with pytest.raises(RemoteAuthenticationError, match="requires a password"):
                cache.get("a")


class TestTls:
    def test_with_its_authority(self, tls_server):
        cache = tiered(tls_server.url, TLS_CA=tls_server.certificates.authority)
        wait_for_near_copy(cache)
        use(cache)
        use(tiered(f"{tls_server.url}?ssl_ca_certs={tls_server.certificates.authority}"))

    def test_with_another_authority(self, tls_server):
        with Certificates() as others:
            cache = tiered(tls_server.url, TLS_CA=others.authority)
            with pytest.raises(RemoteConnectionError, match="certificate") as raised:
                cache.get("a")
            assert f"127.0.0.1:{tls_server.address[1]}" in str(raised.value)
            with pytest.raises(RemoteConnectionError):
                asyncio.run(cache.aget("a"))

    def test_with_the_authorities_of_the_system(self, tls_server):
        with pytest.raises(RemoteConnectionError, match="certificate"):
            tiered(tls_server.url).get("a")

    def test_without_verification(self, tls_server):
        cache = tiered(tls_server.url, TLS_VERIFY=False)
        wait_for_near_copy(cache)
        use(cache)

    def test_with_a_certificate_of_the_client(self, flavour):
        with TlsServer(flavour, client_certificate_required=True) as server:
            files = server.certificates
            with pytest.raises(RemoteConnectionError):
                tiered(server.url, TLS_CA=files.authority).get("a")
            cache = tiered(
                server.url,
                TLS_CA=files.authority,
                TLS_CERT=files.client_certificate,
                TLS_KEY=files.client_key,
            )
            wait_for_near_copy(cache)
            use(cache)

    def test_without_tls_in_the_url(self, tls_server):
        host, port = tls_server.address
        with pytest.raises(RemoteError, match=f"{host}:{port}"):
            tiered(f"redis://{host}:{port}", SOCKET_TIMEOUT=1).get("a")

    def test_of_a_server_without_it(self, server):
        with pytest.raises(RemoteError, match=r"does it speak TLS|TLS handshake"):
            tiered(f"rediss://127.0.0.1:{server.port}", TLS_VERIFY=False, SOCKET_TIMEOUT=1).get("a")


class TestSeveralServers:
    def test_sentinels(self, sentinels):
        cache = tiered(sentinel_url(sentinels))
        wait_for_near_copy(cache)
        use(cache)

    def test_sentinels_of_another_service(self, sentinels):
        url = sentinel_url(sentinels).replace(sentinels.name, "other")
        with pytest.raises(RemoteError, match="other"):
            tiered(url).get("a")

    def test_cluster(self, cluster):
        cache = tiered(cluster_url(cluster))
        wait_for_near_copy(cache)
        use(cache)

    def test_cluster_with_a_plain_url(self, cluster):
        port = cluster.primaries[0].port
        cache = tiered(f"redis://127.0.0.1:{port}", NEAR=None)
        with pytest.raises(RemoteResponseError, match=r"CROSSSLOT .* use redis\+cluster://"):
            cache.get_many([f"key{number}" for number in range(20)])
        elsewhere = next(
            key for key in map(str, range(100)) if cluster.owner_of_key(f":1:{key}").port != port
        )
        with pytest.raises(RemoteResponseError, match=r"MOVED .* use redis\+cluster://"):
            cache.get(elsewhere)


class TestOldServersAndProxies:
    def test_proxy_without_client_side_caching(self, server):
        with Resp2Proxy(server.address) as proxy:
            cache = tiered(proxy.url)
            assert f"127.0.0.1:{proxy.port}" in near_problem(cache)
            use(cache)

    def test_proxy_that_closes_connections(self, server):
        with ClosingProxy(server.address) as proxy:
            cache = tiered(proxy.url)
            problem = rf"127\.0\.0\.1:{proxy.port} .*in the handshake; a proxy has to pass CLIENT and INFO on"
            with pytest.raises(RemoteConnectionError, match=problem):
                cache.get("a")
            with pytest.raises(RemoteConnectionError, match=problem):
                asyncio.run(cache.aget("a"))

    def test_old_server(self, server):
        with OldServer(server.address) as proxied:
            cache = tiered(proxied.url)
            with pytest.raises(RemoteResponseError, match=r"5\.0\.14, which is too old"):
                cache.get("a")
            problem = wait_until(lambda: cache.stats().remote.near_problem, "a problem")
            assert "HELLO" in problem or "too old" in problem or "RESP3" in problem
