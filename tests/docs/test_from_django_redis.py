"""The tables of docs/how-to/from-django-redis.md: complete, and true of django-redis where that is installed.

With a ``redis-server`` on the PATH the calls of `SAME` are made on django-redis's cache and on ours.
"""

import datetime
import inspect
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nearcache.django import LocalCache, Lock, LockError, LockNotOwnedError
from support.tools import TOOLS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "from-django-redis.md"
STATUSES = {"same", "accepted", "differs", "not there"}


def rows(title):
    """Return what a table of the page says: (signatures by name, status by name)."""
    section = PAGE.read_text().partition(f"## {title}\n")[2].partition("\n## ")[0]
    signatures, statuses = {}, {}
    for line in re.findall(r"^\| (`.*) \|$", section, re.MULTILINE):
        left, status, _ = (cell.strip() for cell in line.split("|"))
        for code in re.findall(r"`([^`]+)`", left):
            name, _, parameters = code.rstrip(")").partition("(")
            signatures[name] = re.findall(r"(?:\*\*)?(\w+)(?:=[^,]+)?(?:, |$)", parameters)
            statuses[name] = status
    return signatures, statuses


CACHE, CACHE_STATUS = rows("Methods of the cache")
LOCK, LOCK_STATUS = rows("Methods of a lock")


def takes(method, parameters):
    ours = inspect.signature(method).parameters
    return all(name in ours for name in parameters)


class TestPage:
    def test_has_a_known_status_in_every_row(self):
        assert len(CACHE) == 62
        assert set(CACHE_STATUS.values()) | set(LOCK_STATUS.values()) == STATUSES

    @pytest.mark.parametrize("name", CACHE)
    def test_matches_our_cache_s_signatures(self, name):
        if CACHE_STATUS[name] == "not there":
            assert not hasattr(LocalCache, name)
            return
        missing = {"delete": {"prefix"}}.get(name, set())
        assert takes(getattr(LocalCache, name), set(CACHE[name]) - missing)
        assert not takes(getattr(LocalCache, name), {"client"})

    @pytest.mark.parametrize("name", LOCK)
    def test_matches_our_lock_s_signatures(self, cache, name):
        lock = cache.lock("key")
        if LOCK_STATUS[name] == "not there":
            assert not hasattr(lock, name)
        elif name == "local":
            assert lock.local.token is None
        else:
            assert takes(getattr(Lock, name), LOCK[name])


@pytest.fixture
def packages(monkeypatch):
    """Let the real django-redis be imported."""
    if not TOOLS.is_dir():
        pytest.skip("django-redis is not installed: make test-tools")
    pytest.importorskip("redis")
    monkeypatch.setattr(sys, "path", [*sys.path, str(TOOLS)])


@pytest.mark.usefixtures("packages")
class TestPageBesideThePackage:
    def test_has_every_method(self):
        from django_redis.cache import RedisCache  # noqa: PLC0415 (where it is installed)
        from redis.lock import Lock as RedisLock  # noqa: PLC0415

        assert set(CACHE) == {name for name in vars(RedisCache) if not name.startswith("_")}
        methods = {name for name, value in vars(RedisLock).items() if inspect.isfunction(value)}
        assert set(LOCK) - {"local"} == {name for name in methods if not name.startswith("_")}

    def test_has_every_parameter(self):
        from django_redis.client import DefaultClient  # noqa: PLC0415

        for name, parameters in CACHE.items():
            if CACHE_STATUS[name] == "not there" or name == "close":
                continue
            real = inspect.signature(getattr(DefaultClient, name)).parameters
            assert [one for one in real if one not in {"self", "client"}] == parameters, name

    def test_raw_connection_is_refused_with_a_clear_error(self):
        from django_redis import get_redis_connection  # noqa: PLC0415

        with pytest.raises(NotImplementedError, match="does not support this feature"):
            get_redis_connection("default")


class TestDifferences:
    def test_set_returns_none(self, cache):
        assert cache.set("key", 1) is None
        assert cache.set("key", 1, nx=True) is False
        assert cache.set("key", 1, xx=True) is True

    def test_delete_many_returns_none_and_delete_can_be_counted(self, cache):
        cache.set_many({"a": 1, "b": 2, "c": 3})
        assert cache.delete_many(["a"]) is None
        assert sum(map(cache.delete, ["a", "b", "c"])) == 2

    def test_touch_without_a_timeout_returns_whether_there_was_a_value(self, cache):
        cache.set("key", 1, None)
        assert cache.touch("key", None) is True

    def test_incr_version_uses_the_default_timeout(self, cache):
        cache.set("key", 1, 50)
        cache.incr_version("key")
        assert cache.ttl("key", version=2) == 300

    def test_a_client_is_refused(self, cache):
        with pytest.raises(TypeError, match="client"):
            cache.set("key", 1, client=object())

    def test_lock_without_any_time_is_refused(self, cache):
        with pytest.raises(ValueError, match=r"timeout is 0\.0; expected"):
            cache.lock("key", timeout=0)

    def test_lock_errors_are_our_own(self):
        assert issubclass(LockNotOwnedError, LockError)
        assert not issubclass(LockError, ValueError)


NOON = datetime.datetime(2100, 1, 1, 12)
# Calls that give the same on both, in an order that leaves something to be found.
SAME = [
    ("add", ("a", 1)),
    ("add", ("a", 2)),
    ("get", ("a",)),
    ("get", ("missing", "default")),
    ("get_many", (["a", "missing"],)),
    ("has_key", ("a",)),
    ("incr", ("a", 5)),
    ("decr", ("a",)),
    ("incr", ("new", 3), {"ignore_key_check": True}),
    ("ttl", ("new",)),
    ("incr", ("new",), {"ignore_key_check": True}),
    ("incr", ("missing",)),
    ("ttl", ("a",)),
    ("ttl", ("missing",)),
    ("pttl", ("missing",)),
    ("persist", ("a",)),
    ("persist", ("a",)),
    ("ttl", ("a",)),
    ("pttl", ("a",)),
    ("expire", ("a", 100)),
    ("expire", ("a", datetime.timedelta(minutes=2))),
    ("ttl", ("a",)),
    ("expire", ("missing", 100)),
    ("pexpire", ("a", 50_000)),
    ("ttl", ("a",)),
    ("expire_at", ("a", NOON)),
    ("expire_at", ("a", int(time.time()) + 1000)),
    ("pexpire_at", ("a", (int(time.time()) + 1000) * 1000)),
    ("expire_at", ("missing", NOON)),
    ("keys", ("*",)),
    ("iter_keys", ("[an]*",)),
    ("iter_keys", ("a", 10)),
    ("keys", ("nothing*",)),
    ("expire_at", ("a", 1000)),
    ("get", ("a",)),
    ("set", ("user:1", 1), {"nx": True}),
    ("set", ("user:2", 1), {"nx": True}),
    ("set", ("user:2", 1), {"nx": True}),
    ("set", ("user:3", 1), {"xx": True}),
    ("set", ("user:1", [1, "two"]), {"xx": True, "timeout": 60}),
    ("add", ("b", 1), {"version": 2}),
    ("delete", ("b",), {"version": 2}),
    ("delete", ("missing",)),
    ("delete_pattern", ("user:*",), {"prefix": "other"}),
    ("delete_pattern", ("user:[12]",), {"itersize": 100}),
    ("delete_pattern", ("*",)),
    ("keys", ("*",)),
    ("add", ("c", 1)),
    ("clear", ()),
    ("keys", ("*",)),
    ("close", ()),
]


def outcome(cache, name, arguments, by_name):
    try:
        result = getattr(cache, name)(*arguments, **by_name)
    except ValueError:
        return ValueError
    if name in {"keys", "iter_keys"}:
        return sorted(result)
    return dict(result) if name == "get_many" else result


def accepts_connections(path):
    """Return whether a server listens on a socket. The socket is there a moment before."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


@pytest.fixture
def redis_cache(packages, tmp_path):
    """Return django-redis's cache, with a server that ends with the test."""
    if shutil.which("redis-server") is None:
        pytest.skip("there is no redis-server")
    from django_redis.cache import RedisCache  # noqa: PLC0415 (where it is installed)

    path = tmp_path / "socket"
    options = ["--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(tmp_path)]
    server = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while not accepts_connections(path) and time.monotonic() < deadline:
        time.sleep(0.01)
    cache = RedisCache(f"unix://{path}", {})
    yield cache
    cache.client.get_client().connection_pool.disconnect()
    server.terminate()
    server.wait()


class TestBesideTheServer:
    def test_calls_that_are_the_same(self, redis_cache, make_cache):
        ours = make_cache()
        for name, arguments, *more in SAME:
            by_name = more[0] if more else {}
            assert outcome(ours, name, arguments, by_name) == outcome(
                redis_cache, name, arguments, by_name
            ), (
                name,
                arguments,
            )
        called = {name for name, *_ in SAME}
        assert {name for name, status in CACHE_STATUS.items() if status in {"same", "accepted"}} <= called

    def test_calls_that_differ(self, redis_cache):
        assert redis_cache.set("key", 1, None) is True
        assert redis_cache.touch("key", None) is False
        assert redis_cache.set_many({"key": 1}) is None
        assert redis_cache.delete_many(["key", "missing"]) == 1
        redis_cache.set("key", 1, 50)
        redis_cache.incr_version("key")
        assert redis_cache.ttl("key", version=2) == 50
        with redis_cache.lock("lock", timeout=0):
            assert redis_cache.ttl("lock") is None

    def test_locks_behave_the_same(self, redis_cache, make_cache):
        for cache in (make_cache(), redis_cache):
            one, other = cache.lock("lock", timeout=50), cache.lock("lock", timeout=50)
            assert one.acquire(token="mine") is True
            assert other.acquire(blocking=False) is False
            assert (one.locked(), one.owned(), other.owned()) == (True, True, False)
            assert one.extend(50) is True
            assert one.reacquire() is True
            other.local.token = b"mine"
            assert other.owned() is True
            assert other.release() is None
            with pytest.raises(Exception, match=r"no longer owned|has expired or was evicted") as caught:
                one.release()
            assert type(caught.value).__name__ == "LockNotOwnedError"
