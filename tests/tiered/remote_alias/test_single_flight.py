"""`get_or_set` before another cache: one caller of the machine computes."""

import asyncio
import contextlib
import logging
import sys

import pytest
from django.core.exceptions import ImproperlyConfigured

from support.flight_processes import FORK, LONG, Counted, Leader, process
from support.stopped_writers import File
from tiered.remote_alias.remotes import FAILING, FailingCache

FILE_BASED = "django.core.cache.backends.filebased.FileBasedCache"


@pytest.fixture
def counted(tmp_path):
    return Counted(tmp_path / "computations")


@pytest.fixture(autouse=True)
def own_directory(tmp_path, monkeypatch):
    """Let each test have a file of flights of its own."""
    monkeypatch.setattr("nearcache.django.location.SHARED_MEMORY", tmp_path)


@pytest.fixture(params=[None, "local", "shared"])
def pair(request, configure, shared_options, tmp_path):
    """Return a cache and its remote cache, which all processes share."""
    options = shared_options if request.param == "shared" else {"NEAR": request.param}
    return configure(remote=FILE_BASED, given={"LOCATION": str(tmp_path / "remote")}, **options)


def test_processes_compute_once(pair, counted):
    cache, remote = pair
    start, results = FORK.Barrier(4), FORK.Queue()

    def ask():
        start.wait()
        results.put(cache.get_or_set("key", lambda: counted("value"), LONG))

    with contextlib.ExitStack() as children:
        for _ in range(4):
            children.enter_context(process(ask))
        assert [results.get(timeout=LONG) for _ in range(4)] == ["value"] * 4
    assert counted.number == 1
    assert remote.get("key") == "value"


def test_tasks_compute_once(pair, counted):
    cache, remote = pair

    async def main():
        calls = [cache.aget_or_set("key", lambda: counted.task("value"), LONG) for _ in range(20)]
        return await asyncio.gather(*calls)

    assert asyncio.run(main()) == ["value"] * 20
    assert counted.number == 1
    assert remote.get("key") == "value"


def test_a_waiter_gets_the_value_of_another_process(pair):
    cache, _ = pair
    with Leader(cache) as leader:
        values = FORK.Queue()
        with process(lambda: values.put(cache.get_or_set("key", lambda: "own", LONG))):
            assert leader.finish() == ("value", "leader's")
            assert values.get(timeout=LONG) == "leader's"


def test_the_remote_caches_own_get_or_set_is_not_called(pair):
    cache, remote = pair
    remote.get_or_set = lambda *_args, **_options: pytest.fail("called")
    assert cache.get_or_set("key", lambda: "value") == "value"
    assert cache._refresh("key", lambda: "new") == "new"
    assert remote.get("key") == "new"


def test_options_are_accepted(configure):
    cache, _ = configure(GET_OR_SET={"stale": 5, "lock_timeout": 1, "distributed": True})
    assert cache.get_or_set("key", lambda: "value", stale=9, early=1, distributed=True) == "value"
    assert cache.get_or_set_many(["key", "b"], lambda keys: dict.fromkeys(keys, 2)) == {
        "key": "value",
        "b": 2,
    }
    with pytest.raises(ImproperlyConfigured, match="GET_OR_SET"):
        configure(GET_OR_SET={"stale": "long"})


@pytest.mark.skipif(sys.platform != "linux", reason="the file of flights is for Linux")
def test_where_the_file_fails_the_process_is_the_scope(configure, counted, tmp_path, caplog):
    """A process was stopped while it held a lock of the file."""
    cache, _ = configure(remote=FILE_BASED, given={"LOCATION": str(tmp_path / "remote")}, NEAR=None)

    async def ask():
        calls = [cache.aget_or_set("key", lambda: counted.task("value"), LONG) for _ in range(20)]
        return await asyncio.gather(*calls)

    with Leader(cache, key="other") as leader:
        file = File(next(tmp_path.rglob("flights-*")))
        file.put(file.lock, file.owner(leader.child.pid))
        try:
            assert asyncio.run(ask()) == ["value"] * 20
            assert cache._refresh("other", lambda: "new") == "new"
        finally:
            file.put(file.lock, 0)
    assert counted.number == 1
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 1
    assert "the file of flights failed" in messages[0]


def test_if_the_remote_cache_fails_the_caller_computes(configure, caplog):
    cache, _ = configure(remote=FAILING, ON_ERROR="miss")
    FailingCache.error = OSError("down")
    with caplog.at_level(logging.WARNING):
        assert cache.get_or_set("key", lambda: "value") == "value"
        assert asyncio.run(cache.aget_or_set("key", lambda: "value")) == "value"
