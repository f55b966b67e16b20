"""SharedCache in the workers of uvicorn and Celery, and of gunicorn while they are killed."""

import http.client
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from nearcache.django import SharedCache
from support.isolated import OPTIONS
from support.programs import Gunicorn, Program

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="SharedCache is for Linux")

SETTINGS = textwrap.dedent("""
    import os
    import time

    from django.conf import settings

    settings.configure(
        SECRET_KEY="tests",
        ALLOWED_HOSTS=["*"],
        CACHES={"default": {
            "BACKEND": "nearcache.django.SharedCache",
            "LOCATION": os.environ["NEARCACHE_TEST_FILE"],
            "TIMEOUT": None,
            "OPTIONS": {"MAX_MEMORY": "1MB"},
        }},
        ROOT_URLCONF=__name__,
    )

    import django
    from django.core.cache import cache
    from django.http import JsonResponse
    from django.urls import path

    django.setup()
    cache.add("count", 0)

""")


@pytest.fixture(autouse=True)
def file(shared_memory, monkeypatch):
    path = shared_memory / f"programs-{os.urandom(4).hex()}"
    monkeypatch.setenv("NEARCACHE_TEST_FILE", str(path))
    return path


def opened(file):
    return SharedCache(str(file), {"OPTIONS": {"MAX_MEMORY": "1MB"}})


def visit(address):
    """Request the page; return the answer, or None if the connection was lost."""
    try:
        with urllib.request.urlopen(address, timeout=30) as response:
            return json.load(response)
    except urllib.error.HTTPError:
        raise
    except (http.client.HTTPException, OSError):
        return None


class Visitors:
    """Threads that request the page in a loop, for `with`; their answers, and the number of lost ones."""

    def __init__(self, address, number):
        self.answers = []
        self.lost = 0
        self._address = address
        self._number = number
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(number)

    def __enter__(self):
        self._runs = [self._pool.submit(self._run) for _ in range(self._number)]
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._pool.shutdown()
        self.lost = sum(run.result() for run in self._runs)

    def workers(self):
        return {answer["worker"] for answer in self.answers}

    def _run(self):
        lost = 0
        while not self._stop.is_set():
            if answer := visit(self._address):
                self.answers.append(answer)
            else:
                lost += 1
        return lost


KILLED = 8

KILLED_SITE = SETTINGS + textwrap.dedent("""
    from django.core.wsgi import get_wsgi_application

    def page(request):
        count = cache.incr("count")
        # A quarter of what there is room for, never of the sizes it had: so room is made all the time.
        numbers = [(count * 30 + number) % 120 for number in range(30)]
        texts = {f"{n % 10}:{n}": str(n % 10) * ((n * 131 + count * 977) % 14_000 + 1) for n in numbers}
        cache.set_many(texts)
        found = cache.get_many(texts)
        return JsonResponse({
            "worker": os.getpid(),
            "count": count,
            "counted": cache.get("count"),
            "found": len(found),
            "wrong": [key for key, text in found.items() if text.strip(key[0])],
        })


    urlpatterns = [path("", page)]
    application = get_wsgi_application()
""")


class TestKilledGunicornWorkers:
    def test_leave_a_valid_cache(self, tmp_path, file):
        killed = set()
        with Gunicorn(tmp_path, KILLED_SITE, workers=3, options=()) as server:
            with Visitors(server.address(), 3) as visitors:
                while server.in_time() and len(killed) < KILLED:
                    for worker in visitors.workers() - killed:
                        os.kill(worker, signal.SIGKILL)
                        killed.add(worker)
                        break
                # Those that take the place of the last ones answer, too.
                while server.in_time() and len(visitors.workers() - killed) < 2:
                    pass
            assert visitors.lost <= len(killed), "each had one request in hand"
            assert server.stop() == 0
        assert not [answer["wrong"] for answer in visitors.answers if answer["wrong"]]
        assert max(answer["found"] for answer in visitors.answers) > 15
        # What was lost may have been counted before.
        counts = [answer["count"] for answer in visitors.answers]
        assert len(set(counts)) == len(counts)
        assert all(answer["counted"] >= answer["count"] for answer in visitors.answers)
        cache = opened(file)
        assert len(counts) <= cache.get("count") <= len(counts) + visitors.lost
        assert cache.stats().evictions > 0
        cache.verify()


ASYNC_SITE = SETTINGS + textwrap.dedent("""
    from django.core.asgi import get_asgi_application


    async def page(request):
        await cache.aadd("first", os.getpid())
        return JsonResponse({
            "worker": os.getpid(),
            "first": await cache.aget("first"),
            "count": await cache.aincr("count"),
        })


    urlpatterns = [path("", page)]
    application = get_asgi_application()
""")


class TestUvicorn:
    def test_workers_share_one_cache(self, tmp_path, file):
        (tmp_path / "site_of_test.py").write_text(ASYNC_SITE)
        options = ("--workers=2", "--host=127.0.0.1", "--port=0", "--lifespan=off")
        with Program(tmp_path, "-m", "uvicorn", *options, "site_of_test:application") as server:
            address = server.output(r"running on (http://[\d.:]+)")
            # It says so before a worker listens.
            while server.in_time() and not (first := visit(address)):
                pass
            with Visitors(address, 4) as visitors:
                while server.in_time() and (len(visitors.workers()) < 2 or len(visitors.answers) < 100):
                    pass
            server.stop()
        assert visitors.lost == 0
        answers = [first, *visitors.answers]
        assert len({answer["first"] for answer in answers}) == 1
        counts = sorted(answer["count"] for answer in answers)
        assert counts == list(range(1, len(counts) + 1))
        assert opened(file).get("count") == len(counts)


JOBS = SETTINGS + textwrap.dedent("""
    import json

    from celery import Celery, group

    folders = {name: os.path.abspath(name) for name in ("queue", "results")}
    for folder in folders.values():
        os.makedirs(folder, exist_ok=True)
    app = Celery(
        "jobs_of_test",
        broker="filesystem://",
        backend="file://" + folders["results"],
        broker_transport_options={
            "data_folder_in": folders["queue"],
            "data_folder_out": folders["queue"],
            "control_folder": folders["queue"],
            "polling_interval": 0.05,
        },
    )
    app.conf.worker_prefetch_multiplier = 1


    @app.task(name="store")
    def store(value):
        cache.set("stored", value)


    @app.task(name="read")
    def read():
        # Until the other process has the other task.
        cache.set(f"reader:{os.getpid()}", True)
        deadline = time.monotonic() + 30
        while len(cache.keys("reader:*")) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        return [os.getpid(), cache.get("stored"), cache.get("of-the-client")]


    @app.task(name="count")
    def count(times):
        for _ in range(times):
            cache.incr("count")


    def done(*tasks):
        return group(*tasks)().get(timeout=50, interval=0.05)


    if __name__ == "__main__":
        cache.set("of-the-client", "before")
        done(store.s({"by": [1, 2.5]}))
        found = done(read.s(), read.s())
        done(*[count.s(500) for _ in range(8)])
        print(json.dumps({"read": found, "count": cache.get("count")}))
""")


class TestCelery:
    def test_processes_share_one_cache(self, tmp_path):
        (tmp_path / "jobs_of_test.py").write_text(JOBS)
        options = ("--pool=prefork", "--concurrency=2", "-Ofair", "--without-gossip", "--without-mingle")
        command = ("-m", "celery", "-A", "jobs_of_test", "worker", "--loglevel=INFO", *options)
        # It warns of its own accord, as of a superuser.
        with Program(tmp_path, *command, options=()) as worker:
            worker.output(r"(celery@\S+ ready)")
            output = self.client(tmp_path)
            worker.stop()
        # The two have one cache, with each other and with those who give them jobs.
        (one, *found), (other, *found_too) = output["read"]
        assert one != other
        assert found == found_too == [{"by": [1, 2.5]}, "before"]
        assert output["count"] == 8 * 500

    def client(self, folder):
        """Run the client to its end, in a process of its own; return what it found."""
        done = subprocess.run(
            [sys.executable, *OPTIONS, "jobs_of_test.py"],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode:
            pytest.fail(f"client: {done.stderr}\nworker: {(folder / 'log').read_text()}", pytrace=False)
        return json.loads(done.stdout)
