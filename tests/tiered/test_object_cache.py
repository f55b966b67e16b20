"""The near copies of a shared file are kept decoded in each process, as long as they are valid."""

import os
import pickle
import sys
from fractions import Fraction

import pytest
from django.core.cache.backends.redis import RedisCache

from support.cache_process import remote_stats
from support.redis_servers.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a shared near tier is for Linux")

ROWS = [{"id": number, "name": f"name {number}"} for number in range(5)]


def opened(make_tiered, server, **options):
    cache = make_tiered(server.url, NEAR="shared", MAX_STALENESS=30, **options)
    cache.get("any")
    wait_until(lambda: remote_stats(cache)["near_open"], "an open gate")
    return cache


def reads(cache, times):
    """Return what several reads of a key return, and how many of them the object cache served."""
    before = cache.stats().object_hits
    found = [cache.get("key") for _ in range(times)]
    return found, cache.stats().object_hits - before


def write(server, cache, value):
    """Write a value with another client, and wait until the cache knows."""
    before = remote_stats(cache)["invalidations"]
    RedisCache(server.url, {}).set("key", value)
    wait_until(lambda: remote_stats(cache)["invalidations"] > before, "an invalidation")


def test_copy_is_decoded_twice_and_then_kept(make_tiered, server):
    cache = opened(make_tiered, server)
    write(server, cache, ROWS)
    # The server, the copy, the copy again, and the object cache.
    assert reads(cache, 6) == ([ROWS] * 6, 3)
    stats = cache.stats()
    assert (stats.object_entries, stats.object_memory > 0) == (1, True)
    assert remote_stats(cache)["near_hits"] == 5


def test_value_shares_nothing_with_the_one_inside(make_tiered, server):
    cache = opened(make_tiered, server)
    write(server, cache, ROWS)
    for _ in range(5):
        found = cache.get("key")
        assert found == ROWS
        found[0]["name"] = "changed"
        found.clear()


def test_invalidated_copy_is_not_served(make_tiered, server):
    cache = opened(make_tiered, server)
    for number in range(5):
        write(server, cache, [number, ROWS])
        assert reads(cache, 5) == ([[number, ROWS]] * 5, 2)


def test_deleted_copy_is_not_served(make_tiered, server):
    cache = opened(make_tiered, server)
    write(server, cache, ROWS)
    reads(cache, 5)
    cache.delete("key")
    assert cache.get("key") is None
    cache.set("key", ROWS)
    reads(cache, 5)
    cache.clear()
    assert cache.get("key") is None


def test_caches_of_one_file_share_it(make_tiered, server, shared_memory):
    path = str(shared_memory / f"near-of-two-{os.urandom(4).hex()}")
    first, second = (opened(make_tiered, server, NEAR_LOCATION=path) for _ in range(2))
    write(server, first, ROWS)
    reads(first, 5)
    assert reads(second, 2) == ([ROWS] * 2, 2)


def test_short_values_are_not_kept(make_tiered, server):
    cache = opened(make_tiered, server)
    for value in (5, "short", None):
        write(server, cache, value)
        assert reads(cache, 5) == ([value] * 5, 0)


@pytest.mark.parametrize("nothing", [0, None])
def test_it_can_be_turned_off(make_tiered, server, nothing):
    cache = opened(make_tiered, server, OBJECT_CACHE=nothing)
    write(server, cache, ROWS)
    assert reads(cache, 6) == ([ROWS] * 6, 0)


def test_local_near_tier_has_none(make_tiered, server):
    cache = make_tiered(server.url)
    assert cache.stats().object_hits is None


def test_copy_that_cannot_be_unpickled_is_read_from_the_server(make_tiered, server, monkeypatch):
    cache = opened(make_tiered, server)
    write(server, cache, Fraction(1, 3))
    assert reads(cache, 2) == ([Fraction(1, 3)] * 2, 0)
    unpickled = []

    def fail(stored):
        unpickled.append(stored)
        raise pickle.UnpicklingError("gone")

    monkeypatch.setattr(pickle, "loads", fail)
    with pytest.raises(pickle.UnpicklingError, match="gone"):
        cache.get("key")
    assert len(unpickled) == 2
