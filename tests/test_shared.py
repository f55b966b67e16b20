"""SharedCache: one cache for several processes, in a file."""

import contextlib
import logging
import math
import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from nearcache.django import LocalCache, LockNotOwnedError, SharedCache, location

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="SharedCache is for Linux")

MIB = 1024**2


@pytest.fixture
def memory(shared_memory, monkeypatch):
    """Return the directory that stands for /dev/shm, with nothing in it."""
    directory = shared_memory / f"of-{os.urandom(4).hex()}"
    directory.mkdir()
    monkeypatch.setattr(location, "SHARED_MEMORY", directory)
    return directory


@pytest.fixture
def path(memory):
    return memory / "cache"


def opened(where, **options):
    return SharedCache(str(where), {"OPTIONS": {"MAX_MEMORY": MIB, **options}})


def complaint(where, **params):
    with pytest.raises(ImproperlyConfigured) as raised:
        SharedCache(str(where), params)
    text = str(raised.value)
    assert text.startswith("nearcache: ")
    return text


def python(program, *arguments, check=True):
    """Run a program in a process of its own, which has Django set up and `opened`; return what it printed."""
    before = """
        import sys
        from django.conf import settings
        settings.configure(SECRET_KEY="tests")
        from nearcache.django import SharedCache
        def opened(where, **options):
            return SharedCache(str(where), {"OPTIONS": {"MAX_MEMORY": 1024**2, **options}})
        path, *arguments = sys.argv[1:]
    """
    program = textwrap.dedent(before) + textwrap.dedent(program)
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout.strip()


@contextlib.contextmanager
def forked(work, *arguments):
    """Run a function in a child of `fork` meanwhile; it has to end well."""
    child = multiprocessing.get_context("fork").Process(target=work, args=arguments, daemon=True)
    child.start()
    yield child
    child.join(120)
    assert child.exitcode == 0


class TestProcesses:
    def test_another_program_has_what_was_stored(self, path):
        cache = opened(path)
        cache.set_many({"text": "värde", "list": [1, {"a": None}], "number": 7})
        told = python(
            """
            cache = opened(path)
            print(cache.get("text"), cache.get("list"), cache.incr("number"), cache.add("text", 1))
            cache.set("back", b"bytes", 100)
            """,
            path,
        )
        assert told == "värde [1, {'a': None}] 8 False"
        assert cache.get("number") == 8
        assert (cache.get("back"), cache.ttl("back")) == (b"bytes", 100)

    def test_it_is_there_after_all_have_ended(self, path):
        python("opened(path).set('key', 'value', None)", path)
        assert python("print(opened(path).get('key'))", path) == "value"
        assert opened(path).get("key") == "value"

    @pytest.mark.parametrize("method", ["fork", "spawn"])
    def test_increments_of_all_are_counted(self, path, method):
        cache = opened(path)
        cache.set("count", 0)
        context = multiprocessing.get_context(method)
        workers = [context.Process(target=increment, args=(str(path), 50_000)) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(120)
        assert [worker.exitcode for worker in workers] == [0] * 4
        assert cache.get("count") == 200_000

    def test_sums_of_objects_are_counted_too(self, path):
        cache = opened(path)
        cache.set("count", 0.5)
        with forked(increment, str(path), 2000), forked(increment, str(path), 2000):
            increment(str(path), 2000)
        assert cache.get("count") == 6000.5

    def test_handles_inherited_by_fork_go_on(self, path):
        cache = opened(path)

        def child():
            assert cache.get("key") == "parent's"
            cache.set("key", "child's")
            assert cache.incr("n") == 2

        cache.set("key", "parent's")
        cache.set("n", 1)
        with forked(child):
            pass
        assert (cache.get("key"), cache.get("n")) == ("child's", 2)

    def test_statistics_are_of_the_whole_machine(self, path):
        cache = opened(path)
        cache.set("key", 1)
        cache.get("key")
        python("cache = opened(path); cache.get('key'), cache.get('none'), cache.set('two', 2)", path)
        stats = cache.stats()
        assert (stats.hits, stats.misses, stats.sets, stats.entries) == (2, 1, 2, 2)
        assert 0 < stats.memory < 1000
        assert (stats.max_memory, stats.max_entries) == (MIB, None)
        assert (stats.recoveries, stats.damages, stats.timeouts, stats.unreadable) == (0, 0, 0, 0)
        assert 0 <= stats.age < 100
        assert "unreadable=0" in repr(stats)

    def test_killed_amid_writes_leaves_it_whole(self, path):
        cache = opened(path)
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            child = multiprocessing.get_context("fork").Process(
                target=write_for_ever, args=(str(path),), daemon=True
            )
            child.start()
            time.sleep(0.03)
            os.kill(child.pid, signal.SIGKILL)
            child.join()
            for key, value in cache.get_many([f"key{n}" for n in range(100)]).items():
                assert value == key * (len(value) // len(key))
            cache.set("mine", 1)
        cache.verify()

    def test_threads_go_on_while_one_waits_for_a_stopped_process(self, path):
        cache = opened(path)
        refused = []
        for _ in range(200):
            child = multiprocessing.get_context("fork").Process(
                target=write_for_ever, args=(str(path),), daemon=True
            )
            child.start()
            time.sleep(0.02)
            os.kill(child.pid, signal.SIGSTOP)
            try:
                cache.set("mine", 1)
            except TimeoutError as error:
                refused.append(str(error))
                assert cache.get("nothing") is None  # reads go on
                with other_threads() as ran, pytest.raises(TimeoutError):
                    cache.set("mine", 1)
                assert len(ran) > 5
            finally:
                os.kill(child.pid, signal.SIGKILL)
                child.join()
            if refused:
                break
        cache.set("mine", 2)
        assert cache.get("mine") == 2
        if not refused:
            pytest.skip("no process was ever stopped with the lock in hand")
        assert str(path) in refused[0]
        assert "waiting for a lock that another process" in refused[0]
        assert cache.stats().timeouts == 2


def increment(path, times):
    cache = opened(path)
    for _ in range(times):
        cache.incr("count")


def write_for_ever(path):
    cache = opened(path)
    while True:
        for n in range(100):
            cache.set(f"key{n}", f"key{n}" * (n * 10 + 1))


@contextlib.contextmanager
def other_threads():
    """Have a thread write down that it runs, again and again."""
    ran = []
    done = threading.Event()

    def run():
        while not done.wait(0.01):
            ran.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield ran
    finally:
        done.set()
        thread.join()


class TestLocks:
    def test_is_one_for_all_processes(self, path):
        cache = opened(path)
        with cache.lock("lock"):
            assert python("print(opened(path).lock('lock').acquire(blocking=False))", path) == "False"
        assert python("print(opened(path).lock('lock').acquire(blocking=False))", path) == "True"

    def test_of_a_holder_that_died_is_free(self, path):
        cache = opened(path)
        child = multiprocessing.get_context("fork").Process(target=hold, args=(str(path),), daemon=True)
        child.start()
        deadline = time.monotonic() + 60
        while not cache.lock("lock").locked() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not cache.lock("lock").acquire(blocking=False)
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        lock = cache.lock("lock", timeout=50)
        assert lock.acquire(blocking=False)
        assert not cache.lock("lock").acquire(blocking=False)
        assert cache.ttl("lock") == 50
        lock.release()

    def test_is_lost_if_its_entry_goes(self, path):
        cache = opened(path)
        lock = cache.lock("lock")
        lock.acquire()
        cache.clear()
        with pytest.raises(LockNotOwnedError):
            lock.release()

    def test_counts_under_a_lock_are_exact(self, path):
        cache = opened(path)
        cache.set("n", 0)
        with forked(add_under_lock, str(path)), forked(add_under_lock, str(path)):
            add_under_lock(str(path))
        assert cache.get("n") == 300


def hold(path):
    opened(path).lock("lock").acquire()
    time.sleep(100)


def add_under_lock(path):
    cache = opened(path)
    for _ in range(100):
        with cache.lock("lock", sleep=0.001):
            cache.set("n", cache.get("n") + 1)


class TestFile:
    def test_of_a_name_is_in_a_directory_of_the_user(self, memory):
        cache = opened("pages")
        assert cache.path == memory / f"nearcache-{os.geteuid()}" / "pages"
        assert stat.S_IMODE(cache.path.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(cache.path.stat().st_mode) == 0o600
        assert cache.path.stat().st_size == MIB
        assert cache.path.stat().st_blocks * 512 >= MIB, "a full file system shows now, and not later"

    def test_of_a_path_is_there(self, path):
        assert opened(path).path == path
        assert path.is_file()

    def test_without_a_name_is_the_projects(self, memory):
        cache = opened("")
        assert cache.path.name.startswith("default-")
        assert opened("").path == cache.path
        with override_settings(SECRET_KEY="another project's"):
            assert opened("").path != cache.path

    def test_without_a_name_nor_a_secret_is_refused(self, memory):
        with override_settings(SECRET_KEY=""):
            assert "needs a LOCATION" in complaint("")

    def test_deleted_while_in_use_is_made_again_for_all(self, path):
        cache = opened(path)
        cache.set("old", 1)
        path.unlink()
        assert cache.get("old") == 1, "for a while it is the same"
        time.sleep(1.1)
        assert cache.get("old") is None
        cache.set("new", 2)
        assert python("print(opened(path).get('new'))", path) == "2"

    def test_replaced_while_in_use_is_the_new_one_whatever_its_size(self, path):
        cache = opened(path)
        cache.set("old", 1)
        python("opened(path, MAX_MEMORY='2MB').set('new', 2)", path)
        time.sleep(1.1)
        assert cache.get("new") == 2
        assert cache.stats().max_memory == 2 * MIB
        assert path.stat().st_size == 2 * MIB

    def test_of_another_size_is_made_anew_and_that_is_told(self, path, caplog):
        python("opened(path).set('old', 1)", path)
        with caplog.at_level(logging.WARNING, "nearcache"):
            assert opened(path, MAX_MEMORY="2MB").get("old") is None
            opened(path, MAX_MEMORY="2MB")
        (record,) = caplog.records
        assert f"{path} was recreated" in record.getMessage()
        assert f"it had {MIB} bytes, and MAX_MEMORY is {2 * MIB}" in record.getMessage()

    def test_of_another_format_is_made_anew_and_that_is_told(self, path, caplog):
        python("opened(path).set('old', 1)", path)
        with path.open("r+b") as file:
            file.seek(8)
            file.write((99).to_bytes(8, sys.byteorder))
        with caplog.at_level(logging.WARNING, "nearcache"):
            assert opened(path).get("old") is None
        (record,) = caplog.records
        assert "format of another release" in record.getMessage()

    def test_that_is_as_it_should_be_is_not_told_of(self, path, caplog):
        python("opened(path).set('old', 1)", path)
        with caplog.at_level(logging.WARNING, "nearcache"):
            assert opened(path).get("old") == 1
        assert caplog.records == []

    def test_of_another_size_in_the_same_process_is_refused(self, path):
        opened(path)
        text = complaint(path, OPTIONS={"MAX_MEMORY": "2MB"})
        assert "is open in this process with MAX_MEMORY 1048576" in text

    def test_is_verified(self, path):
        cache = opened(path)
        cache.set_many({"a": "x" * 100, "b": 1})
        found = cache.verify()
        assert (found.entries, found.torn) == (2, 0)
        assert found.payload == len(":1:a") + 100 + len(":1:b") + 8
        assert found.payload < found.memory < found.payload + 100

    def test_of_somebody_is_left_alone(self, path):
        path.write_bytes(os.urandom(MIB))
        path.chmod(0o600)
        before = path.read_bytes()
        assert f"{path} is not a shared cache; delete it" in complaint(path)
        assert path.read_bytes() == before

    def test_damaged_while_in_use_costs_misses_only(self, path):
        cache = opened(path)
        cache.set_many({f"key{n}": f"value{n}" * 20 for n in range(1000)})
        with path.open("r+b") as file:
            for place in range(300_000, MIB - 8, 4099):
                file.seek(place)
                file.write(os.urandom(8))
        for n in range(1000):
            assert cache.get(f"key{n}") in {None, f"value{n}" * 20}
            cache.set(f"key{n}", n)
        cache.clear()
        cache.set("key", 1)
        assert cache.get("key") == 1


class TestBadLocation:
    @pytest.mark.parametrize("name", ["a/b", "../up", ".hidden", "-dash", "spa ce", "ä", "x" * 129, "nul\0"])
    def test_of_no_name(self, memory, name):
        assert "LOCATION is" in complaint(name)

    @pytest.mark.parametrize("value", [None, 5, b"bytes", ["list"]])
    def test_of_no_text(self, memory, value):
        with pytest.raises(ImproperlyConfigured, match="a name or an absolute path"):
            SharedCache(value, {})

    def test_where_there_is_no_directory(self, memory):
        assert "there is no directory" in complaint(memory / "none" / "cache")

    def test_where_nobody_can_look(self, memory):
        assert "LOCATION is" in complaint(f"/{'x' * 300}/cache")

    def test_that_is_a_directory(self, memory):
        assert "not a regular file" in complaint(memory)

    def test_that_is_a_pipe(self, path):
        os.mkfifo(path)
        assert "not a regular file" in complaint(path)

    def test_that_is_a_link(self, memory, path):
        opened(memory / "target")
        path.symlink_to(memory / "target")
        assert "not a regular file" in complaint(path)

    def test_that_others_may_write(self, path):
        path.touch()
        path.chmod(0o666)
        assert "can be written by others" in complaint(path)

    def test_in_a_directory_open_to_others(self, memory):
        (memory / f"nearcache-{os.geteuid()}").mkdir(mode=0o755)
        (memory / f"nearcache-{os.geteuid()}").chmod(0o755)
        assert "chmod 700" in complaint("name")

    def test_in_a_directory_that_is_none(self, memory):
        (memory / f"nearcache-{os.geteuid()}").symlink_to(memory)
        assert "not a directory of this user" in complaint("name")

    def test_where_there_is_no_shared_memory(self, memory, monkeypatch):
        monkeypatch.setattr(location, "SHARED_MEMORY", memory / "none")
        assert "LOCATION be the absolute path" in complaint("name")

    def test_on_a_platform_without(self, monkeypatch):
        class Elsewhere(SharedCache):
            @property
            def _open_shared(self):
                raise AttributeError

        with pytest.raises(ImproperlyConfigured, match=r"Linux only.*LocalCache runs everywhere"):
            Elsewhere("name", {})


class TestBadOptions:
    @pytest.mark.parametrize(
        "size", [0, 1, MIB - 1, "1023KB", 1024**4 + 1, "2TB", "much", None, True, 1.5e6 + 0.5]
    )
    def test_size(self, path, size):
        text = complaint(path, OPTIONS={"MAX_MEMORY": size})
        assert "MAX_MEMORY is" in text

    def test_unknown(self, path):
        text = complaint(path, OPTIONS={"MAX_MEMROY": 1})
        assert "Did you mean 'MAX_MEMORY'? SharedCache has MAX_MEMORY" in text
        assert "EVICTION" in complaint(path, OPTIONS={"EVICTION": "lru"})

    def test_no_room(self, path):
        text = complaint(path, OPTIONS={"MAX_MEMORY": "1TB"})
        assert "no space for" in text
        assert not path.exists()

    def test_of_locmem_are_taken(self, path):
        opened(path, MAX_ENTRIES=3, CULL_FREQUENCY=2).set_many({str(n): n for n in range(10)})
        assert opened(path).stats().entries == 10


class TestValues:
    def test_too_large_is_refused_counted_and_told_of_once(self, path, caplog):
        cache = opened(path)
        cache.set("key", "old")
        with caplog.at_level(logging.WARNING, "nearcache"):
            assert cache.set("key", b"x" * MIB) is None
            assert cache.set_many({"a": 1, "b": b"x" * MIB}) == ["b"]
        assert cache.get("key") is None
        assert cache.stats().rejections == 2
        (record,) = caplog.records
        assert "1048576 bytes" in record.getMessage()
        assert "key" in record.getMessage()

    @pytest.mark.parametrize("share", [16])
    def test_of_a_part_of_the_file_is_stored(self, path, share):
        cache = opened(path)
        cache.set("key", b"x" * (MIB // share))
        assert cache.get("key") == b"x" * (MIB // share)

    def test_key_too_long_is_an_error(self, path):
        cache = opened(path)
        cache.validate_key = lambda key: None
        key = "k" * 65_536
        for write in (cache.set, cache.add):
            with pytest.raises(ValueError, match="expected at most 65535"):
                write(key, 1)
        with pytest.raises(ValueError, match="expected at most 65535"):
            cache.incr(key)
        assert (cache.get(key), cache.delete(key), cache.touch(key)) == (None, False, False)
        cache.set("k" * 65_000, 1)
        assert cache.get("k" * 65_000) == 1

    def test_that_cannot_be_read_here_is_a_miss_told_of_once(self, path, caplog):
        cache = opened(path)
        python(
            """
            import types
            module = sys.modules["elsewhere"] = types.ModuleType("elsewhere")
            class Thing: pass
            Thing.__module__, Thing.__qualname__ = "elsewhere", "Thing"
            module.Thing = Thing
            opened(path).set_many({"one": Thing(), "two": Thing()})
            """,
            path,
        )
        with caplog.at_level(logging.WARNING, "nearcache"):
            assert cache.get("one", "default") == "default"
            assert cache.get_many(["one", "two"]) == {}
        stats = cache.stats()
        assert (stats.hits, stats.misses, stats.unreadable) == (0, 3, 3)
        (record,) = caplog.records
        assert "elsewhere" in record.getMessage()
        assert cache.get_or_set("one", 5) is not None

    def test_what_interrupts_is_raised(self, path):
        cache = opened(path)
        cache.set("key", Interrupting())
        with pytest.raises(KeyboardInterrupt):
            cache.get("key")

    @pytest.mark.parametrize(
        "number",
        [0, -1, 2**63 - 1, -(2**63), 2**63, -(2**63) - 1, 2**64, 10**1000, -(10**1000), 0.0, -0.0, math.inf],
    )
    def test_numbers_come_out_as_they_went_in(self, path, number):
        cache = opened(path)
        cache.set("key", number)
        found = cache.get("key")
        assert (type(found), repr(found)) == (type(number), repr(number))

    @pytest.mark.parametrize(
        ("value", "delta"),
        [(1, 1), (2**63 - 1, 1), (-(2**63), -1), (2**100, 1), (1, 2**70), (True, 1), (1, 0.5)],
    )
    def test_sums_are_python_s(self, path, value, delta):
        cache = opened(path)
        cache.set("key", value, 100)
        assert cache.incr("key", delta) == value + delta
        assert cache.get("key") == value + delta
        assert cache.ttl("key") == 100

    @pytest.mark.parametrize("use", ["incr", "set"])
    def test_that_is_written_all_the_time_stays(self, path, use):
        cache = opened(path)
        cache.set("key", 0)
        for number in range(5000):
            if use == "incr":
                assert cache.incr("key") == number + 1
            else:
                assert cache.set("key", number, xx=True)
            cache.set(f"other{number}", "x" * (number * 7 % 1500))


class Interrupting:
    def __reduce__(self):
        return interrupt, ()


def interrupt():
    raise KeyboardInterrupt


class TestOthers:
    def test_is_no_local_cache(self, path):
        cache = opened(path)
        assert not isinstance(cache, LocalCache)
        with pytest.raises(TypeError, match="no file"):
            LocalCache("verified", {})._verify()

    def test_child_that_cannot_register_reads_and_says_why_it_cannot_write(self, path):
        told = python(
            """
            import os, resource
            cache = opened(path)
            cache.set("key", "parent's")
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))  # the child cannot open the file again
            if child := os.fork():
                sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            try:
                cache.set("key", "child's")
            except OSError as error:
                print(error, cache.get("key"), flush=True)
            os._exit(0)
            """,
            path,
        )
        assert "this process cannot write, because it cannot register" in told
        assert "Too many open files" in told
        assert told.endswith(" parent's")

    def test_path_may_be_a_path(self, path):
        assert SharedCache(Path(path), {"OPTIONS": {"MAX_MEMORY": MIB}}).path == path
