"""No read breaks the promise while processes write and faults are injected: see `support.consistency`.

NEARCACHE_STORM_SECONDS sets how long the run lasts. The same run with a guard of the promise left out finds
violations, which shows that the checker would.
"""

import os

import pytest

from support.consistency.nemesis import Nemesis
from support.consistency.run import run
from support.redis_servers.proxy import Proxy
from support.redis_servers.standalone import Server

SECONDS = float(os.environ.get("NEARCACHE_STORM_SECONDS", "20"))
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
