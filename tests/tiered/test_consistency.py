"""No read breaks the promise while processes write and faults are injected: see `support.consistency`.

NEARCACHE_CONSISTENCY_SECONDS sets how long a run lasts. The same run with a guard of the promise left out
finds violations, which shows that the checker would.
"""

import os

import pytest

from support.consistency.nemesis import ClusterNemesis, Nemesis, SentinelNemesis
from support.consistency.run import run
from support.redis_servers.proxy import Proxy
from support.redis_servers.standalone import Server

SECONDS = float(os.environ.get("NEARCACHE_CONSISTENCY_SECONDS", "10"))
# A run without a guard ends as soon as it finds a violation.
SECONDS_WITHOUT_GUARD = 120
SEED = 20


@pytest.fixture
def folder(shared_memory, request):
    """Return a folder in shared memory."""
    path = shared_memory / f"consistency-{request.node.name}"
    path.mkdir()
    return path


def storm(folder, flavour, seconds, **options):
    with Server(flavour) as server, Proxy(server.address) as proxy:

        def nemesis(history, workers, max_staleness):
            return Nemesis(history, workers, server, [proxy], max_staleness=max_staleness, seed=SEED)

        report = run(folder, proxy.url, nemesis, seconds, **options)
    print(report)
    assert not report.failures, report.failures[0]
    return report


def test_no_read_breaks_the_promise(folder, flavour):
    report = storm(folder, flavour, SECONDS)
    assert report.violations == []
    # The run was one: most reads had a value, many came from near copies, and faults were noticed.
    counts = report.counts
    assert counts["reads"] > 1000 * SECONDS
    assert counts["missing"] < counts["reads"] / 2
    assert counts["near_hits"] > counts["reads"] / 4
    assert counts["writes"] > 10 * SECONDS
    assert counts["failed_writes"] > 0
    assert counts["errors"] > 0


@pytest.mark.parametrize("guard", ["stamp", "gate", "epoch"])
def test_violations_are_found_without_a_guard(folder, flavour, guard):
    report = storm(folder, flavour, SECONDS_WITHOUT_GUARD, broken_guard=guard, until_violation=True)
    assert report.violations


def sentinel_url(sentinels):
    return "redis+sentinel://" + hosts(sentinels.sentinel_addresses) + f"/{sentinels.name}"


def cluster_url(cluster):
    return "redis+cluster://" + hosts(cluster.addresses)


def hosts(addresses):
    return ",".join(f"{host}:{port}" for host, port in addresses)


TOPOLOGIES = {
    "sentinels": (sentinel_url, SentinelNemesis, {"fail_over", "kill_primary"}),
    "cluster": (cluster_url, ClusterNemesis, {"fail_over", "kill_primary", "move_slots"}),
}


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_no_read_breaks_the_promise_while_primaries_change(folder, topology, request):
    servers = request.getfixturevalue(topology)
    url, make_nemesis, changes = TOPOLOGIES[topology]

    def nemesis(history, workers, max_staleness):
        proxies = list(servers.proxies.values())
        return make_nemesis(history, workers, servers, proxies, max_staleness=max_staleness, seed=SEED)

    report = run(folder, url(servers), nemesis, SECONDS)
    print(report)
    assert not report.failures, report.failures[0]
    assert report.violations == []
    assert report.faults.keys() >= changes
    assert report.counts["near_hits"] > report.counts["reads"] / 4
    assert report.counts["writes"] > SECONDS
