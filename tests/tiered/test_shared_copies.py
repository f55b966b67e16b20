"""Near copies in the machine's file: each type, and immutable values, which are built once in a process."""

import sys

import pytest
from django.utils.safestring import mark_safe

from support.cache_process import remote_stats
from support.redis_servers.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason='NEAR "shared" is for Linux')

LONG = 1000
REUSED = {
    "ascii": "x" * LONG,
    "latin-1": "é" * LONG,
    "utf-8": "\u20ac" * LONG,
    "bytes": b"b" * LONG,
    "int": 1 << 8 * LONG,
    "safe": mark_safe("x" * LONG),
}
BUILT = {
    "none": None,
    "true": True,
    "int": 12345,
    "large int": 1 << 70,
    "float": 0.25,
    "text": "short",
    "safe": mark_safe("short"),
    "empty": "",
    "bytes": b"\x80short",
    "dict": {"text": "x" * LONG},
}


@pytest.fixture
def cache(make_tiered, server):
    """Return a cache with an open gate, which stays open throughout a test."""
    made = make_tiered(server.url, NEAR="shared", MAX_STALENESS=30)
    made.get("any")
    wait_until(lambda: remote_stats(made)["near_open"], "an open gate")
    return made


def copied(cache, key, value):
    """Store a value, let the cache have a copy, and return what the copy gives."""
    before = remote_stats(cache)
    cache.set(key, value)
    wait_until(lambda: remote_stats(cache)["invalidations"] > before["invalidations"], "a report")
    missing = object()
    assert cache.get(key, missing) == value
    found = cache.get(key, missing)
    assert remote_stats(cache)["near_hits"] == before["near_hits"] + 1
    return found


@pytest.mark.parametrize(
    "value", [*BUILT.values(), *REUSED.values()], ids=[*BUILT, *(f"long {k}" for k in REUSED)]
)
def test_copy_has_the_value_and_its_type(cache, value):
    found = copied(cache, "key", value)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("value", REUSED.values(), ids=REUSED)
def test_long_immutable_value_is_built_once(cache, value):
    assert copied(cache, "key", value) is cache.get("key")


def test_mutable_value_is_built_each_time(cache):
    copied(cache, "key", {"text": "x" * LONG})["text"] = "changed"
    assert cache.get("key") == {"text": "x" * LONG}


def test_object_of_an_invalid_copy_is_not_served(cache, server):
    copied(cache, "key", "x" * LONG)
    before = remote_stats(cache)
    server.command("SET", ":1:key", 5)
    wait_until(lambda: remote_stats(cache)["invalidations"] > before["invalidations"], "a report")
    assert cache.get("key") == 5


def test_object_of_an_expired_copy_is_not_served(make_tiered, server):
    cache = make_tiered(server.url, NEAR="shared", MAX_STALENESS=30, NEAR_TTL=0.2)
    cache.get("any")
    wait_until(lambda: remote_stats(cache)["near_open"], "an open gate")
    copied(cache, "key", "x" * LONG)
    before = remote_stats(cache)["remote_hits"]
    wait_until(
        lambda: cache.get("key") and remote_stats(cache)["remote_hits"] > before, "a read from the server"
    )
