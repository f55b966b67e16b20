"""SharedCache under gunicorn and `manage.py runserver`: shared by workers, warm after a restart."""

import json
import os
import sys
import textwrap
import time
import urllib.request

import pytest

from support.programs import Gunicorn, Program

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="SharedCache is for Linux")

WORKERS = 4

SITE = textwrap.dedent("""
    import os
    import sys

    from django.conf import settings

    settings.configure(
        DEBUG=True,
        SECRET_KEY="tests",
        ALLOWED_HOSTS=["*"],
        INSTALLED_APPS=["django.contrib.sessions"],
        MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
        SESSION_ENGINE="django.contrib.sessions.backends.cache",
        CACHES={"default": {
            "BACKEND": "nearcache.django.SharedCache",
            "LOCATION": os.environ["NEARCACHE_TEST_FILE"],
            "OPTIONS": {"MAX_MEMORY": "1MB"},
        }},
        ROOT_URLCONF=__name__,
        WSGI_APPLICATION=__name__ + ".application",
    )

    import django
    from django.core.cache import cache
    from django.core.wsgi import get_wsgi_application
    from django.http import JsonResponse
    from django.urls import path

    if "--preload" in os.environ.get("GUNICORN_CMD_ARGS", ""):
        cache.set("before-the-fork", os.getpid())


    def page(request, number):
        visits = request.session["visits"] = request.session.get("visits", 0) + 1
        cache.add("first", os.getpid())
        return JsonResponse({
            "worker": os.getpid(),
            "first": cache.get("first"),
            "count": cache.incr("count") if not cache.add("count", 1) else 1,
            "visits": visits,
            "before": cache.get("before-the-fork"),
            "version": VERSION,
        })


    VERSION = 1
    urlpatterns = [path("<int:number>", page)]
    application = get_wsgi_application()

    if __name__ == "__main__":
        from django.core.management import execute_from_command_line
        execute_from_command_line(sys.argv)
""")


@pytest.fixture(autouse=True)
def file(shared_memory, monkeypatch):
    path = shared_memory / f"served-{os.urandom(4).hex()}"
    monkeypatch.setenv("NEARCACHE_TEST_FILE", str(path))
    return path


class Visitor:
    """A browser that keeps its session."""

    def __init__(self, address):
        self.address = address
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())

    def visit(self):
        with self.opener.open(f"{self.address}/1", timeout=15) as response:
            return json.load(response)


@pytest.mark.parametrize("options", [(), ("--preload",)], ids=["plain", "preload"])
class TestGunicorn:
    @pytest.fixture
    def server(self, tmp_path, options, monkeypatch):
        monkeypatch.setenv("GUNICORN_CMD_ARGS", " ".join(options))
        with Gunicorn(tmp_path, SITE, WORKERS, options) as server:
            yield server

    def test_workers_share_one_cache(self, server, options):
        visitor = Visitor(server.address())
        answers = []
        while server.in_time() and len({answer["worker"] for answer in answers}) < WORKERS:
            answers.append(visitor.visit())
        # What one stored all others get, and all count together.
        assert {answer["first"] for answer in answers} == {answers[0]["worker"]}
        assert [answer["count"] for answer in answers] == list(range(1, len(answers) + 1))
        # A session goes on whoever answers.
        assert [answer["visits"] for answer in answers] == list(range(1, len(answers) + 1))
        before = server.process.pid if options else None
        assert {answer["before"] for answer in answers} == {before}
        assert server.stop() == 0

    def test_cache_is_warm_after_a_restart(self, server, options, tmp_path):
        count = Visitor(server.address()).visit()["count"]
        assert server.stop() == 0
        with Gunicorn(tmp_path, SITE, WORKERS, options) as again:
            assert Visitor(again.address()).visit()["count"] == count + 1


class TestRunserver:
    @pytest.fixture
    def server(self, tmp_path):
        """Return a development server, which writes its log into the folder."""
        (tmp_path / "manage.py").write_text(SITE)
        with Program(tmp_path, "-u", "manage.py", "runserver", "127.0.0.1:0") as server:
            yield server

    def address(self, server, number):
        """Wait until the server has been started so many times; return where it listens since then."""
        return server.output(r"Starting (?:WSGI )?development server at (http://[\d.:]+)", number)

    def test_cache_is_warm_after_a_reload(self, server, tmp_path):
        before = Visitor(self.address(server, 1)).visit()
        assert (before["version"], before["count"]) == (1, 1)
        # The reloader tells changes by the file's time.
        time.sleep(1.1)
        (tmp_path / "manage.py").write_text(SITE.replace("VERSION = 1", "VERSION = 2"))
        after = Visitor(self.address(server, 2)).visit()
        assert (after["version"], after["count"]) == (2, 2)
        assert after["first"] == before["worker"] != after["worker"]
