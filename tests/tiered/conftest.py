"""Servers for the tests of TieredCache."""

import uuid

import pytest

from nearcache.django import TieredCache
from support.redis_servers.binaries import flavours
from support.redis_servers.cluster import Cluster
from support.redis_servers.proxy import Proxy
from support.redis_servers.sentinel import Sentinels
from support.redis_servers.standalone import Server
from support.redis_servers.tls import TlsServer


def pytest_generate_tests(metafunc):
    """Run the tests that use a server with each installed flavour."""
    if "flavour" in metafunc.fixturenames and len(flavours()) > 1:
        metafunc.parametrize("flavour", flavours(), ids=str, scope="session")


@pytest.fixture(scope="session")
def flavour():
    """Return the server program that the tests run with."""
    if not flavours():
        pytest.skip("no Redis or Valkey server is installed")
    return flavours()[0]


@pytest.fixture(scope="session")
def running_server(flavour):
    """Run one server for all tests that do not change its settings."""
    with Server(flavour) as running:
        yield running


@pytest.fixture
def server(running_server):
    """Return a running server without data."""
    if not running_server.is_running:
        running_server.start()
    running_server.resume()
    running_server.command("FLUSHALL")
    return running_server


@pytest.fixture
def proxied(server):
    """Return a proxy in front of `server`."""
    with Proxy(server.address) as proxy:
        yield proxy


@pytest.fixture
def tls_server(flavour):
    """Return a server whose port takes TLS only."""
    with TlsServer(flavour) as running:
        yield running


@pytest.fixture(scope="module")
def sentinels(flavour):
    """Return a primary, two replicas and three Sentinels, behind proxies; one for all tests of a module."""
    with Sentinels(flavour, proxied=True) as running:
        yield running


@pytest.fixture(scope="module")
def cluster(flavour):
    """Return a Cluster of six nodes, behind proxies; one for all tests of a module."""
    with Cluster(flavour, proxied=True) as running:
        yield running


@pytest.fixture
def make_tiered(shared_memory):
    """Return a function that makes caches: ``make_tiered(url, MAX_STALENESS=0.3)``.

    With NEAR "shared", each has a file of its own unless NEAR_LOCATION is given.
    """
    made = []

    def make(url, **options):
        params = {name: options.pop(name) for name in ("KEY_PREFIX", "TIMEOUT") if name in options}
        if options.get("NEAR") == "shared":
            options.setdefault("NEAR_LOCATION", str(shared_memory / f"near-{uuid.uuid4().hex}"))
            options.setdefault("MAX_MEMORY", "8MB")
        made.append(TieredCache(url, {**params, "OPTIONS": options}))
        return made[-1]

    yield make
    # Stores live as long as the process.
    for cache in made:
        cache.reset_stats()
