"""What docs/how-to/redis-servers.md and docs/how-to/tiered-cache.md say of servers is true of one."""

import re
import sys
from pathlib import Path

import pytest

from nearcache.django import LockError, TieredCache
from nearcache.django.errors import (
    RemoteAuthenticationError,
    RemoteConnectionError,
    RemoteError,
    RemoteReadOnlyError,
)
from support.redis_servers.ports import free_port
from support.redis_servers.waiting import wait_until

HOW_TO = Path(__file__).resolve().parents[2] / "docs" / "how-to"
(RULE,) = re.findall(r"^ACL SETUSER (mysite .+)$", (HOW_TO / "redis-servers.md").read_text(), re.MULTILINE)


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="TieredCache is for Unix")


def server(**options):
    from support.redis_servers.binaries import flavours  # noqa: PLC0415 (finds programs)
    from support.redis_servers.standalone import Server  # noqa: PLC0415

    if not flavours():
        pytest.skip("no Redis or Valkey server is installed")
    return Server(**options)


def cache_of(running, **options):
    login = {"USERNAME": "mysite", "PASSWORD": "secret"}
    return TieredCache(running.url, {"KEY_PREFIX": "mysite", "OPTIONS": login | options})


def has_near_hits(cache):
    cache.get("key")
    return cache.stats().remote.near_hits > 0


def use_every_kind_of_method(cache):
    cache.set("key", [1], 60)
    cache.add("number", 1)
    cache.set_many({"a": 1, "b": 2})
    assert cache.get_many(["a", "b"]) == {"a": 1, "b": 2}
    assert cache.incr("number") == 2
    assert cache.has_key("a")
    assert cache.touch("a", 50)
    assert cache.expire("a", 60)
    assert cache.persist("a")
    assert cache.ttl("a") is None
    assert sorted(cache.keys("*")) == ["a", "b", "key", "number"]
    assert cache.delete("a")
    cache.delete_many(["b"])
    assert cache.delete_pattern("num*") == 1
    with cache.lock("lock", timeout=30) as lock:
        assert lock.extend(30)
        assert lock.owned()
    for _ in range(2):
        assert cache.get_or_set("old", lambda: 1, 60, stale=60, early=1e-9, distributed=True) == 1
        assert cache.touch("old", 50)
    assert cache.persist("old")


class TestPermissions:
    def test_rule_of_the_page_suffices(self):
        with server(users=[RULE]) as running:
            cache = cache_of(running)
            use_every_kind_of_method(cache)
            wait_until(lambda: has_near_hits(cache), "a near copy is served")
            assert cache.stats().remote.near_problem is None
            cache.clear()
            assert cache.keys("*") == []

    @pytest.mark.parametrize("permission", ["info", "client|tracking", "ping"])
    def test_near_copies_need(self, permission):
        assert f" +{permission}" in RULE
        with server(users=[RULE.replace(f" +{permission}", "")]) as running:
            cache = cache_of(running)
            cache.set("key", 1)
            problem = wait_until(
                lambda: cache.get("key") and cache.stats().remote.near_problem, "a reason is shown"
            )
            assert "noperm" in problem.lower()
            assert not has_near_hits(cache)

    @pytest.mark.parametrize(
        ("permission", "call", "error"),
        [
            ("eval", lambda cache: cache.incr("key"), RemoteError),
            ("incrby", lambda cache: cache.incr("key"), RemoteError),
            ("eval", lambda cache: cache.get_or_set("old", lambda: 1, 60, stale=60), RemoteError),
            ("getrange", lambda cache: cache.get_or_set("key", lambda: 1, 60, early=1), RemoteError),
            ("scan", lambda cache: cache.keys("*"), RemoteAuthenticationError),
        ],
    )
    def test_call_needs(self, permission, call, error):
        with server(users=[RULE.replace(f" +{permission}", "")]) as running:
            cache = cache_of(running)
            cache.set("key", 1)
            with pytest.raises(error, match="no permissions"):
                call(cache)


class TestReplica:
    def test_reads_work_and_writes_are_refused(self):
        with server() as primary, server(primary=primary) as replica:
            TieredCache(primary.url, {}).set("key", 1)
            cache = TieredCache(replica.url, {})
            wait_until(lambda: cache.get("key") == 1, "the replica has the key")
            with pytest.raises(RemoteReadOnlyError, match="the first URL must be the primary's"):
                cache.set("key", 2)
            assert cache.stats().remote.near_hits == 0


class TestOnError:
    """The table of tiered-cache.md, with a port on which nobody listens."""

    @pytest.fixture
    def url(self):
        return f"redis://127.0.0.1:{free_port()}"

    def test_raise(self, url):
        with pytest.raises(RemoteConnectionError, match="cannot connect to"):
            TieredCache(url, {}).get("key")

    @pytest.mark.parametrize("on_error", ["miss", "stale"])
    def test_miss(self, url, on_error):
        cache = TieredCache(url, {"OPTIONS": {"ON_ERROR": on_error}})
        assert cache.get("key", "default") == "default"
        assert cache.get_many(["key"]) == {}
        assert cache.has_key("key") is False
        assert cache.ttl("key") == 0
        assert cache.set("key", 1) is None
        assert cache.set_many({"key": 1}) == []
        for call in (cache.touch, cache.delete):
            assert call("key") is False
        assert cache.add("key", 1) is False
        assert cache.expire("key", 1) is False
        with pytest.raises(ValueError, match="not found"):
            cache.incr("key")
        with pytest.raises(LockError), cache.lock("lock", timeout=30, blocking=False):
            pass
        assert cache.stats().remote.ignored_errors > 0
