"""The default size of a SharedCache's file, and its creation by several processes at once."""

import errno
import logging
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.core.exceptions import ImproperlyConfigured

from nearcache.django import SharedCache, file_size

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="SharedCache is for Linux")

MIB = 1024**2
BLOCK = 4096


@pytest.fixture
def directory(shared_memory):
    directory = shared_memory / f"of-{os.urandom(4).hex()}"
    directory.mkdir()
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def total(monkeypatch):
    """Return a function that sets what file systems say they have."""

    def set_total(size):
        found = SimpleNamespace(f_blocks=size // BLOCK, f_frsize=BLOCK)
        monkeypatch.setattr(file_size.os, "statvfs", lambda _: found)

    return set_total


class TestDefaultSize:
    @pytest.mark.parametrize(
        ("of_file_system", "expected"),
        [
            (1024 * MIB, 64 * MIB),
            (128 * MIB, 64 * MIB),
            (127 * MIB, 63 * MIB),
            (64 * MIB, 32 * MIB),
            (2 * MIB, MIB),
            (0, 64 * MIB),  # a tmpfs without a limit
        ],
    )
    def test_is_at_most_half_of_the_file_system(self, directory, total, of_file_system, expected):
        total(of_file_system)
        assert file_size.default_size(directory / "cache") == expected

    def test_is_64_mb_if_the_file_system_reports_no_size(self, directory, monkeypatch):
        def fail(_):
            raise OSError(errno.ENOSYS, "no")

        monkeypatch.setattr(file_size.os, "statvfs", fail)
        assert file_size.default_size(directory / "cache") == 64 * MIB

    def test_stays_the_same_in_a_process(self, directory, total):
        total(64 * MIB)
        first = SharedCache(str(directory / "cache"), {})
        total(1024 * MIB)
        second = SharedCache(str(directory / "cache"), {})
        assert first.stats().max_memory == second.stats().max_memory == 32 * MIB

    def test_is_logged_once_if_it_is_less_than_64_mb(self, directory, total, caplog):
        total(64 * MIB)
        with caplog.at_level(logging.INFO, "nearcache"):
            for _ in range(2):
                cache = SharedCache(str(directory / "cache"), {})
        assert cache._max_memory == cache.stats().max_memory == 32 * MIB
        (record,) = caplog.records
        for part in ("32 MB", "64 MB", 'OPTIONS["MAX_MEMORY"]', str(cache.path)):
            assert part in record.getMessage()

    def test_is_not_logged_otherwise(self, directory, total, caplog):
        total(1024 * MIB)
        with caplog.at_level(logging.INFO, "nearcache"):
            SharedCache(str(directory / "default"), {})
            total(16 * MIB)
            SharedCache(str(directory / "set"), {"OPTIONS": {"MAX_MEMORY": "12MB"}})
        assert not caplog.records
        assert (directory / "set").stat().st_size == 12 * MIB, "a size that is set is honoured"

    def test_below_the_minimum_is_an_error(self, directory, total):
        total(2 * MIB - BLOCK)
        with pytest.raises(ImproperlyConfigured) as raised:
            SharedCache(str(directory / "cache"), {})
        text = str(raised.value)
        for part in (str(directory), f"{2 * MIB - BLOCK} bytes", "less than 1 MB", "MAX_MEMORY"):
            assert part in text
        assert list(directory.iterdir()) == []


def in_namespace(size, program):
    """Run a program where ``/dev/shm`` has so many bytes; return what it printed. Skip if not allowed."""
    mount = f"mount -t tmpfs -o size={size} tmpfs /dev/shm"
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    unshare = ["unshare", *as_root, "--mount", "sh", "-c"]
    if shutil.which("unshare") is None:
        pytest.skip("there is no program unshare here")
    if subprocess.run([*unshare, mount], capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    before = """
        import os, sys
        from django.conf import settings
        settings.configure(SECRET_KEY="tests")
        from nearcache.django import SharedCache
    """
    program = textwrap.dedent(before) + textwrap.dedent(program)
    command = [*unshare, f'{mount} && exec "$0" -c "$1"', sys.executable, program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class TestSmallSharedMemory:
    """Docker gives ``/dev/shm`` 64 MB."""

    def test_workers_that_start_together_with_defaults_all_start(self):
        program = """
            WORKERS, STARTS = 4, 25

            def work(ready, go):
                os.write(ready, b"r")
                os.read(go, 1)
                cache = SharedCache("", {})
                cache.add("workers", 0)
                cache.incr("workers")

            failed = 0
            for start in range(STARTS):
                (is_ready, ready), (go, start_all) = os.pipe(), os.pipe()
                children = []
                for _ in range(WORKERS):
                    if pid := os.fork():
                        children.append(pid)
                        continue
                    try:
                        work(ready, go)
                    except BaseException as error:
                        print(error, file=sys.stderr)
                        os._exit(1)
                    os._exit(0)
                got = b""
                while len(got) < WORKERS:
                    got += os.read(is_ready, WORKERS)
                os.write(start_all, b"g" * WORKERS)
                failed += sum(os.waitpid(pid, 0)[1] != 0 for pid in children)
                (directory,) = os.listdir("/dev/shm")
                (name,) = os.listdir(f"/dev/shm/{directory}")
                path = f"/dev/shm/{directory}/{name}"
                assert os.stat(path).st_size == 32 * 1024**2
                os.remove(path)
            print(failed, "failed")
        """
        assert in_namespace(64 * MIB, program) == "0 failed"

    def test_a_size_that_does_not_fit_is_refused_with_the_free_space(self):
        program = """
            for size in ("64MB", "65MB"):
                cache = SharedCache("fits", {"OPTIONS": {"MAX_MEMORY": "60MB"}})
                try:
                    SharedCache("other", {"OPTIONS": {"MAX_MEMORY": size}})
                except Exception as error:
                    print(error)
            print(sorted(os.listdir(cache.path.parent)))
        """
        lines = in_namespace(64 * MIB, program).splitlines()
        for line, size in zip(lines, (64, 65), strict=False):
            assert f"no space for {size * MIB} bytes" in line
            assert f"has {64 * MIB} bytes" in line
            assert "MAX_MEMORY" in line
        assert lines[-1] == "['fits']"

    def test_a_change_of_size_needs_no_room_for_both(self):
        program = """
            for size in (40, 45):
                if pid := os.fork():
                    assert os.waitpid(pid, 0)[1] == 0
                    continue
                cache = SharedCache("cache", {"OPTIONS": {"MAX_MEMORY": f"{size}MB"}})
                print(cache.stats().max_memory // 1024**2, flush=True)
                os._exit(0)
        """
        assert in_namespace(64 * MIB, program).split() == ["40", "45"]


CREATOR = """
import fcntl, os, sys
lock = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
fcntl.lockf(lock, fcntl.LOCK_EX, 1, 2**50 - 2)
print("locked", flush=True)
sys.stdin.read()
"""


def test_failing_to_open_a_file_keeps_no_memory(directory):
    path = directory / "cache"
    path.write_bytes(b"no cache" * 4096)

    def fail_and_measure():
        for _ in range(2500):
            with pytest.raises(ImproperlyConfigured, match="not a shared cache"):
                SharedCache(str(path), {"OPTIONS": {}})
        resident_pages = int(Path("/proc/self/statm").read_text().split()[1])
        return resident_pages * os.sysconf("SC_PAGE_SIZE")

    before = fail_and_measure()
    assert fail_and_measure() - before < 500_000


def test_threads_run_while_one_waits_for_another_process_to_create_the_file(directory):
    lock = directory / ".cache.nearcache-lock"
    command = [sys.executable, "-c", CREATOR, str(lock)]
    ran = []
    opening = threading.Event()

    def run():
        opening.wait()
        while len(ran) < 50:
            ran.append(time.monotonic())
            time.sleep(0.005)
        creator.stdin.close()

    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as creator:
        assert creator.stdout.readline() == "locked\n"
        thread = threading.Thread(target=run)
        thread.start()
        opening.set()
        # It can go on only once the thread has run for a while.
        cache = SharedCache(str(directory / "cache"), {"OPTIONS": {"MAX_MEMORY": MIB}})
        thread.join()
    cache.set("key", 1)
    assert cache.get("key") == 1
