"""`get_or_set` under gunicorn, with threads and with gevent: many requests at once compute once."""

import json
import os
import sys
import textwrap
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.programs import Gunicorn

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="SharedCache is for Linux")

SITE = textwrap.dedent("""
    import os
    import time

    from django.conf import settings

    settings.configure(
        SECRET_KEY="tests",
        ALLOWED_HOSTS=["*"],
        CACHES={
            "default": {"BACKEND": "nearcache.django.LocalCache"},
            "shared": {
                "BACKEND": "nearcache.django.SharedCache",
                "LOCATION": os.environ["NEARCACHE_TEST_FILE"],
                "OPTIONS": {"MAX_MEMORY": "1MB"},
            },
        },
        ROOT_URLCONF=__name__,
    )

    import django
    from django.core.cache import caches
    from django.core.wsgi import get_wsgi_application
    from django.http import JsonResponse
    from django.urls import path

    django.setup()


    def page(request, alias, key):
        computed = []

        def compute():
            computed.append(os.getpid())
            time.sleep(0.3)
            return "value"

        value = caches[alias].get_or_set(key, compute, None)
        return JsonResponse({"value": value, "computed": len(computed), "worker": os.getpid()})


    def fast(request):
        return JsonResponse({"worker": os.getpid()})


    urlpatterns = [path("<alias>/<key>", page), path("fast", fast)]
    application = get_wsgi_application()
""")
CLIENTS = 48
WORKERS = 3


@pytest.fixture(scope="module", params=["gthread", "gevent"])
def address(request, tmp_path_factory):
    kind = request.param
    if kind == "gevent":
        pytest.importorskip("gevent")
    folder = tmp_path_factory.mktemp(kind)
    options = [f"--worker-class={kind}", f"--threads={CLIENTS}"]
    os.environ["NEARCACHE_TEST_FILE"] = str(folder / "cache")
    try:
        with Gunicorn(folder, SITE, WORKERS, options) as gunicorn:
            yield gunicorn.address()
    finally:
        del os.environ["NEARCACHE_TEST_FILE"]


def visit(address):
    with urllib.request.urlopen(address, timeout=30) as response:
        return json.load(response)


def visit_together(address, path):
    """Request a page by all clients at once, and meanwhile one that needs no cache; return the answers."""
    with ThreadPoolExecutor(CLIENTS + 1) as pool:
        answers = [pool.submit(visit, f"{address}/{path}") for _ in range(CLIENTS)]
        fast = pool.submit(visit, f"{address}/fast")
        assert fast.result()["worker"]
        return [answer.result() for answer in answers]


@pytest.mark.parametrize("key", ["one", "two", "three"])
def test_all_workers_compute_once(address, key):
    answers = visit_together(address, f"shared/{key}")
    assert {answer["value"] for answer in answers} == {"value"}
    assert sum(answer["computed"] for answer in answers) == 1


@pytest.mark.parametrize("key", ["one", "two"])
def test_each_worker_computes_once(address, key):
    answers = visit_together(address, f"default/{key}")
    workers = {answer["worker"] for answer in answers}
    assert sum(answer["computed"] for answer in answers) == len(workers)
