"""Registration of processes in the file: a change of user, daemons, more processes than slots."""

import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from support.programs import Gunicorn
from support.shared_files import PROGRAM, opened, python

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="SharedCache is for Linux")
as_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can change its user"
)

# Debian's user and group for nothing; both exist everywhere by these numbers.
NOBODY = 65534


@pytest.fixture
def path(shared_memory):
    """Return a path in a directory that every user can look into."""
    directory = Path(tempfile.mkdtemp(prefix="nearcache-processes-", dir=shared_memory.parent))
    directory.chmod(0o755)
    yield directory / "file"
    shutil.rmtree(directory)


@as_root
class TestChangeOfUser:
    def test_child_writes_before_and_after(self, path):
        printed = python(
            """
            cache = opened()
            cache.set("n", 0)

            def before_and_after():
                cache.incr("n")
                become_nobody()
                cache.incr("n")

            def after():
                become_nobody()
                cache.incr("n")
                with cache.lock("lock"):
                    in_child(lambda: print("free:", cache.lock("lock").acquire(blocking=False)))

            in_child(before_and_after)
            in_child(after)
            print(cache.get("n"), cache.stats().timeouts, cache.stats().recoveries)
            """,
            path,
        )
        assert printed.splitlines() == ["free: False", "3 0 0"]

    def test_child_with_another_user_opens_a_file_of_its_own_if_the_parent_opened_none(self, path):
        path.parent.chmod(0o777)
        printed = python(
            """
            def child():
                become_nobody()
                opened().set("key", os.geteuid())
                print(os.stat(path).st_uid, opened().get("key"))

            in_child(child)
            """,
            path,
        )
        assert printed.split() == [str(NOBODY)] * 2

    def test_threads_open_the_file_of_the_process(self, path):
        printed = python(
            """
            from pathlib import Path
            location.SHARED_MEMORY = Path(path).parent
            cache = opened("pages")
            cache.set("key", "root's")

            def child():
                become_nobody()
                seen = []
                def thread():
                    again = opened("pages")
                    seen.extend([again.path == cache.path, again.was_missing])
                    seen.extend([again.get("key"), again.incr("n")])
                cache.set("n", 0)
                thread = threading.Thread(target=thread)
                thread.start()
                thread.join()
                print(*seen)

            in_child(child)
            """,
            path,
        )
        assert printed.splitlines() == ["True False root's 1"]

    def test_another_name_is_another_file_with_a_warning(self, path):
        path.parent.chmod(0o777)
        printed = python(
            """
            from pathlib import Path
            location.SHARED_MEMORY = Path(path).parent
            opened("pages")

            def child():
                become_nobody()
                print(opened("others").path.parent.name)

            in_child(child)
            """,
            path,
        )
        warning, name = printed.splitlines()
        assert name == f"nearcache-{NOBODY}"
        assert f"is opened as uid {NOBODY}, but this process opened other caches as uid 0" in warning

    def test_continued_use_of_the_file_is_logged_once(self, path):
        printed = python(
            """
            cache = opened()

            def child():
                become_nobody()
                for _ in range(3):
                    time.sleep(1.1)
                    cache.set("key", 1)

            in_child(child)
            """,
            path,
        )
        (warning,) = printed.splitlines()
        assert f"opened the file as uid 0 and runs as uid {NOBODY} now" in warning

    def test_process_without_free_descriptors_gets_an_error(self, path):
        printed = python(
            """
            cache = opened()
            cache.set("key", "kept")

            def child():
                become_nobody()
                os.closerange(3, 1024)
                print(cache.get("key"))
                try:
                    cache.set("key", 1)
                except OSError as error:
                    print(error)

            in_child(child)
            """,
            path,
        )
        assert "kept" in printed
        assert f"opened it as uid 0 and now runs as uid {NOBODY}" in printed

    def test_file_of_root_is_refused_with_advice(self, path):
        python("opened()", path)
        os.chown(path, NOBODY, NOBODY)
        with pytest.raises(ImproperlyConfigured, match=r"uid 65534\), and this process .* uid 0; .*chown 0"):
            opened(path)

    def test_file_given_to_the_user_is_used(self, path):
        python("opened().set('key', 'warm')", path)
        os.chown(path, NOBODY, NOBODY)
        printed = python("become_nobody(); print(opened().get('key')); opened().set('key', 1)", path)
        assert printed.split() == ["warm"]


SITE = textwrap.dedent("""
    import os

    from django.conf import settings

    settings.configure(
        SECRET_KEY="tests",
        ALLOWED_HOSTS=["*"],
        CACHES={"default": {
            "BACKEND": "nearcache.django.SharedCache",
            "LOCATION": os.environ["NEARCACHE_TEST_FILE"],
            "OPTIONS": {"MAX_MEMORY": "1MB"},
        }},
        ROOT_URLCONF=__name__,
    )

    import django
    from django.core.cache import cache
    from django.core.wsgi import get_wsgi_application
    from django.http import JsonResponse
    from django.urls import path

    import nearcache.django  # the workers' user may not be able to read where Python is installed

    if "NEARCACHE_TEST_USED" in os.environ:
        cache.set("by", os.geteuid())


    def page(request, number):
        cache.add("by", os.geteuid())
        cache.add("count", 0)
        with cache.lock("page", timeout=30, sleep=0.001):
            count = cache.get("count") + 1
            cache.set("count", count)
        answer = {"worker": os.getpid(), "user": os.geteuid(), "count": count, "by": cache.get("by")}
        return JsonResponse(answer)


    urlpatterns = [path("<int:number>", page)]
    application = get_wsgi_application()
""")


@as_root
class TestGunicornThatChangesItsUser:
    @pytest.mark.parametrize("master_uses", [True, False])
    @pytest.mark.parametrize("threads", [1, 3])
    def test_workers_share_one_cache(self, tmp_path, path, monkeypatch, master_uses, threads):
        monkeypatch.setenv("NEARCACHE_TEST_FILE", str(path))
        os.chown(path.parent, NOBODY, NOBODY)
        if master_uses:
            monkeypatch.setenv("NEARCACHE_TEST_USED", "1")
        options = (
            "--preload",
            f"--user={pwd.getpwuid(NOBODY).pw_name}",
            f"--group={NOBODY}",
            f"--threads={threads}",
        )
        with Gunicorn(tmp_path, SITE, workers=3, options=options) as server:
            answers = server.answers(pages=1)
            assert server.stop() == 0
        assert {answer["user"] for answer in answers} == {NOBODY}
        assert {answer["by"] for answer in answers} == {0 if master_uses else NOBODY}
        assert [answer["count"] for answer in answers] == list(range(1, len(answers) + 1))
        assert len({answer["worker"] for answer in answers}) == 3


DAEMON = """
cache = opened()

def daemonize():
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    os.chdir("/")
    cache.set("n", 0)
    os.closerange(3, 65536)

daemonize()
# The numbers are somebody's again.
others = [socket.socketpair() for _ in range(20)] + [open(os.devnull) for _ in range(5)] + [open(log, "w")]
"""


class TestDaemon:
    @pytest.fixture
    def daemon(self, path):
        """Return a function that starts a daemon, which stores its pid when it is ready."""
        pids = []

        def run(*parts):
            log = path.parent / "log"
            before = f"log = {str(log)!r}\n" + DAEMON
            cache = opened(path)
            program = PROGRAM + before + "".join(map(textwrap.dedent, [f"\n{part}\n" for part in parts]))
            command = [sys.executable, "-c", program, str(path)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
            pids.append(cache.get("pid"))
            return cache, done.stdout + done.stderr

        yield run
        for pid in filter(None, pids):
            os.kill(pid, signal.SIGKILL)

    # It ends when the daemon has closed its outputs.
    READY = """
    cache.set("pid", os.getpid())
    sys.stdout.flush()
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1), os.dup2(null, 2)
    time.sleep(60)
    """

    def test_keeps_its_lock_after_closing_all_descriptors(self, daemon):
        cache, _ = daemon("cache.lock('lock').acquire()", self.READY)
        assert cache.get("pid")
        assert not cache.lock("lock").acquire(blocking=False)
        os.kill(cache.get("pid"), signal.SIGKILL)
        cache.delete("pid")
        assert cache.lock("lock").acquire(blocking_timeout=10)

    def test_recovers_its_lock_within_a_second(self, path):
        printed = python(
            """
            cache = opened()
            cache.lock("lock").acquire()
            os.closerange(3, 65536)
            others = [socket.socketpair() for _ in range(20)]
            time.sleep(1.1)
            cache.get("any-use")
            # Another process asks whether the holder lives.
            import subprocess
            asked = PROGRAM + "print('free:', opened().lock('lock').acquire(blocking=False))"
            print(subprocess.run([sys.executable, "-c", asked, path], capture_output=True, text=True).stdout)
            for one, other in others:
                one.send(b"sound")
                assert other.recv(5) == b"sound"
                one.close(), other.close()
            """.replace("PROGRAM", repr(PROGRAM)),
            path,
        )
        assert "free: False" in printed
        assert "was no longer registered" in printed

    def test_does_not_write_into_files_it_opened_later(self, daemon, path):
        cache, output = daemon(
            """
            time.sleep(1.1)
            for n in range(500):
                cache.incr("n")
                cache.set(f"key{n}", "x" * n)
            """,
            self.READY,
        )
        assert cache.get("n") == 500, output
        assert "has registered again" in output
        assert (path.parent / "log").read_bytes() == b""
        cache.verify()


class TestManyProcesses:
    def test_max_processes_can_write(self, path):
        printed = python(
            """
            cache = opened(MAX_PROCESSES=100)
            cache.set("n", 0)
            ready, done = os.pipe(), os.pipe()
            for _ in range(90):
                if not os.fork():
                    cache.incr("n")
                    os.write(ready[1], b".")
                    os.read(done[0], 1)
                    os._exit(0)
            for _ in range(90):
                os.read(ready[0], 1)
            print(cache.get("n"))
            os.write(done[1], b"." * 90)
            """,
            path,
        )
        assert printed.split() == ["90"]

    def test_one_process_more_is_refused(self, path):
        printed = python(
            """
            cache = opened(MAX_PROCESSES=1)
            cache.set("key", "value")

            def child():
                print(cache.get("key"))
                try:
                    cache.set("key", 1)
                except OSError as error:
                    print(error)

            in_child(child)
            """,
            path,
        )
        value, error = printed.splitlines()
        assert value == "value"
        assert re.search(r"all 1 process slots of .* are taken; .*MAX_PROCESSES", error)

    def test_another_number_recreates_the_file_with_a_warning(self, path, caplog):
        python("opened().set('key', 1)", path)
        assert opened(path, MAX_PROCESSES=65).get("key") is None
        (record,) = caplog.records
        assert "another MAX_PROCESSES" in record.getMessage()

    def test_the_default_may_be_given(self, path):
        python("opened().set('key', 1)", path)
        assert opened(path, MAX_PROCESSES=64).get("key") == 1

    def test_another_number_in_the_same_process_is_refused(self, path):
        opened(path, MAX_PROCESSES=3)
        with pytest.raises(
            ImproperlyConfigured, match=r"with MAX_MEMORY 1048576 and MAX_PROCESSES 3, not .* 4"
        ):
            opened(path, MAX_PROCESSES=4)

    @pytest.mark.parametrize("number", [0, -1, 16_385, 1.5, "many", True])
    def test_bad_number(self, path, number):
        with pytest.raises(ImproperlyConfigured, match=r"MAX_PROCESSES.* is .* from 1 to 16384"):
            opened(path, MAX_PROCESSES=number)

    def test_more_processes_than_a_small_file_has_room_for_are_refused(self, path):
        with pytest.raises(
            ImproperlyConfigured,
            match="of 1048576 bytes cannot have slots for 513 processes; expected 1 to 512",
        ):
            opened(path, MAX_PROCESSES=513)
