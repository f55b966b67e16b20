"""Parametrises the tests of this folder that make caches: they run with each backend."""

import sys

import pytest

from nearcache.django import LocalCache, SharedCache
from support.redis_servers.binaries import flavours
from support.redis_servers.standalone import Server
from support.tiered_caches import NearLocal, NearNone, use_server

MEMORY = {"local": LocalCache, "shared": SharedCache}
TIERED = {"tiered-none": NearNone, "tiered-local": NearLocal}


def pytest_generate_tests(metafunc):
    """Parametrise the fixture `backend`, unless a test is marked `local_only`.

    A TieredCache has no clock of its own: tests that set the clock, and those marked `memory_only`, run
    without it.
    """
    marked = metafunc.definition.get_closest_marker
    if "backend" not in metafunc.fixturenames or marked("local_only") or sys.platform != "linux":
        return
    backends = dict(MEMORY)
    if flavours() and "clock" not in metafunc.fixturenames and not marked("memory_only"):
        backends |= TIERED
    metafunc.parametrize("backend", backends.values(), ids=backends)


@pytest.fixture(scope="session")
def remote_server():
    """Run the server on which the TieredCaches of this folder keep their entries."""
    with Server() as running:
        yield running


@pytest.fixture(autouse=True)
def remote_tier(request):
    """Let the TieredCaches of a test use the server."""
    callspec = getattr(request.node, "callspec", None)
    if callspec is not None and callspec.params.get("backend") in TIERED.values():
        use_server(request.getfixturevalue("remote_server"))
