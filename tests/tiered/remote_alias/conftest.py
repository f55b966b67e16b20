"""Pairs of a TieredCache and its remote tier."""

import uuid

import pytest
from django.core.cache import caches
from django.db import connections
from django.test import override_settings

from tiered.remote_alias.remotes import LOCMEM, LONG, TIERED, FailingCache, InterruptingCache


@pytest.fixture
def configure():
    """Return a function that sets CACHES: ``configure(remote_params, **options)`` returns both caches."""
    active = []

    def set_up(remote=LOCMEM, backend=TIERED, given=None, **options):
        options = {"NEAR_TTL": LONG, **options}
        params = {"BACKEND": remote, "LOCATION": uuid.uuid4().hex, **(given or {})}
        settings = {
            "default": {"BACKEND": backend, "OPTIONS": {"REMOTE": "remote", **options}},
            "remote": params,
        }
        active.append(override_settings(CACHES=settings))
        active[-1].enable()
        return caches["default"], caches["remote"]

    yield set_up
    for one in reversed(active):
        one.disable()
    FailingCache.error = InterruptingCache.then = None


@pytest.fixture
def shared_options(shared_memory):
    """Return the options of a shared near tier with a file of its own."""
    location = str(shared_memory / f"near-{uuid.uuid4().hex}")
    return {"NEAR": "shared", "NEAR_LOCATION": location, "MAX_MEMORY": "2MB"}


@pytest.fixture
def database(tmp_path):
    """Make a database with the table of a DatabaseCache."""
    connections.databases["default"] = {
        **connections.databases["default"],
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(tmp_path / "cache.sqlite3"),
    }
    old = connections["default"]
    del connections["default"]
    yield
    connections["default"].close()
    connections["default"] = old
