"""Fixtures of SharedCache's tests."""

import os

import pytest

from nearcache.django import location


@pytest.fixture
def memory(shared_memory, monkeypatch):
    """Return a new directory that replaces /dev/shm."""
    directory = shared_memory / f"of-{os.urandom(4).hex()}"
    directory.mkdir()
    monkeypatch.setattr(location, "SHARED_MEMORY", directory)
    return directory


@pytest.fixture
def path(memory):
    return memory / "cache"
