"""LocalCache under gunicorn with `--preload`: workers are forked while a thread uses the cache."""

import os
import textwrap

import pytest

from support.programs import Gunicorn

WORKERS = 2

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


@pytest.fixture
def server(tmp_path):
    with Gunicorn(tmp_path, SITE, WORKERS, ["--preload"]) as server:
        yield server


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
