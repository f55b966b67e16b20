"""Parametrises the tests of this folder that make caches: they run with each backend."""

import sys

from nearcache.django import LocalCache, SharedCache


def pytest_generate_tests(metafunc):
    """Parametrise the fixture `backend`, unless a test is marked `local_only`."""
    if "backend" not in metafunc.fixturenames or metafunc.definition.get_closest_marker("local_only"):
        return
    if sys.platform == "linux":
        metafunc.parametrize("backend", [LocalCache, SharedCache], ids=["local", "shared"])
