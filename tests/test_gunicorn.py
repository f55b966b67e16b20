"""A gunicorn that loads the site before it forks, where a thread uses the cache all the while."""

import json
import os
import re
import subprocess
import sys
import textwrap
import time
import urllib.request

import pytest

from isolated import OPTIONS, end_session

WORKERS = 2
DEADLINE_SECONDS = 60

SITE = textwrap.dedent("""
    import itertools
    import json
    import os
    import threading
    import time

    from django.conf import settings

    settings.configure(
        SECRET_KEY="tests",
        ALLOWED_HOSTS=["*"],
        CACHES={"default": {"BACKEND": "nearcache.django.LocalCache", "TIMEOUT": None}},
        ROOT_URLCONF=__name__,
    )

    import django
    from django.core.cache import cache, caches
    from django.core.wsgi import get_wsgi_application
    from django.http import JsonResponse
    from django.urls import path

    MASTER = os.getpid()

    cache.set_many({f"page{number}": {"number": number, "list": [number]} for number in range(100)})


    def hammer():
        # Not through Django's proxy: every use of that takes a lock of asgiref's, which a fork leaves locked.
        own = caches["default"]
        for number in itertools.count():
            own.set("hammered", number)
            own.set(f"hammered{number % 500}", [number])
            own.get_many([f"page{number % 100}", "hammered", "none"])
            own.delete(f"hammered{(number - 250) % 500}")


    threading.Thread(target=hammer, daemon=True).start()
    while not cache.get("hammered"):
        time.sleep(0.001)


    def page(request, number):
        found = cache.get(f"page{number}")
        cache.set("worker", os.getpid())
        return JsonResponse({
            "master": MASTER,
            "worker": os.getpid(),
            "found": found,
            "hammered": cache.get("hammered"),
            "written": cache.get("worker"),
            "count": cache.incr("count") if not cache.add("count", 1) else 1,
        })


    urlpatterns = [path("<int:number>", page)]
    application = get_wsgi_application()
""")


class Server:
    """A gunicorn process, and its log."""

    def __init__(self, folder, site=SITE, workers=WORKERS, options=("--preload",)):
        self.workers = workers
        self.log = folder / "log"
        (folder / "site_of_test.py").write_text(site)
        settings = [
            *options,
            f"--workers={workers}",
            "--bind=127.0.0.1:0",
            "--timeout=20",
            "--graceful-timeout=5",
        ]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *OPTIONS, "-m", "gunicorn", *settings, "site_of_test:application"],
                cwd=folder,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(folder), *sys.path]))},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.deadline = time.monotonic() + DEADLINE_SECONDS

    def in_time(self):
        """Let a loop go on; fail if gunicorn ended, or the time is up."""
        if self.process.poll() is not None or time.monotonic() > self.deadline:
            pytest.fail(f"gunicorn ({self.process.returncode}):\n{self.log.read_text()}", pytrace=False)
        time.sleep(0.01)
        return True

    def address(self):
        """Wait for gunicorn to say at which port it listens."""
        while self.in_time():
            if found := re.search(r"Listening at: (http://[\d.:]+)", self.log.read_text()):
                return found[1]
        raise AssertionError

    def answers(self, pages):
        """Ask for pages, over and over, until every worker has answered a few times; return the answers."""
        address = self.address()
        found = []
        while self.in_time():
            with urllib.request.urlopen(f"{address}/{len(found) % pages}", timeout=15) as response:
                found.append(json.load(response))
            workers = [answer["worker"] for answer in found]
            if len(set(workers)) >= self.workers and min(map(workers.count, workers)) >= 5:
                return found
        raise AssertionError

    def stop(self):
        self.process.terminate()
        return self.process.wait(timeout=30)


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    yield server
    end_session(server.process)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
class TestPreloadedGunicorn:
    def test_all_workers_answer_from_the_cache(self, server):
        answers = server.answers(pages=100)
        for count, answer in enumerate(answers):
            number = count % 100
            # What was stored before the fork is there, in every worker.
            assert answer["found"] == {"number": number, "list": [number]}
            assert answer["hammered"] > 0
            # It is another process, and reads what it wrote itself.
            assert answer["worker"] != answer["master"] == server.process.pid
            assert answer["written"] == answer["worker"]
        for worker in {answer["worker"] for answer in answers}:
            own = [answer for answer in answers if answer["worker"] == worker]
            # Each has a cache of its own: nobody else counts there, and the thread is not in it.
            assert [answer["count"] for answer in own] == list(range(1, len(own) + 1))
            assert len({answer["hammered"] for answer in own}) == 1
        # None hung and was replaced.
        assert len({answer["worker"] for answer in answers}) == WORKERS
        assert server.stop() == 0
        log = server.log.read_text()
        assert "TIMEOUT" not in log, log
