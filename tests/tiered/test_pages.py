"""Pages in a TieredCache: the event loop does not wait for the server."""

import asyncio
import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.cache import caches
from django.http import HttpResponse
from django.middleware import cache as django_cache
from django.test import RequestFactory, override_settings

from nearcache.django import cache_page

requests = RequestFactory()


@pytest.fixture(autouse=True)
def _site(server):
    settings = {
        "BACKEND": "nearcache.django.TieredCache",
        "LOCATION": server.url,
        "KEY_PREFIX": "pages",
        "OPTIONS": {"NEAR": None},
    }
    with override_settings(CACHES={"default": settings}, ALLOWED_HOSTS=["testserver"]):
        yield


@pytest.fixture
def threads(monkeypatch):
    """Return the threads in which pages are read and stored."""
    used = set()
    kind = django_cache.CacheMiddleware

    def noted(method):
        def call(*args):
            used.add(threading.get_ident())
            return method(*args)

        return call

    for name in ("process_request", "process_response"):
        monkeypatch.setattr(kind, name, noted(getattr(kind, name)))
    return used


@pytest.mark.parametrize("options", [{}, {"stale": 60}, {"early": 10**12}], ids=repr)
def test_one_machine_renders_with_distributed(server, shared_memory, options):
    def settings(name):
        near = {"NEAR": "shared", "NEAR_LOCATION": str(shared_memory / name)}
        return {"BACKEND": "nearcache.django.TieredCache", "LOCATION": server.url, "OPTIONS": near}

    calls = []
    both = threading.Barrier(2)
    served = threading.Event()

    def view(request):
        calls.append(request)
        if len(calls) == 2:
            assert served.wait(60)
        return HttpResponse(f"page {len(calls)}")

    def get(alias):
        seconds = 1 if "stale" in options else 60
        cached = cache_page(seconds, cache=alias, distributed=True, **options)(view)
        both.wait(60)
        content = cached(requests.get("/")).content
        served.set()
        return content

    with (
        override_settings(CACHES={"default": settings("one"), "two": settings("two")}),
        ThreadPoolExecutor(2) as pool,
    ):
        assert list(pool.map(get, ["default", "two"])) == [b"page 1"] * 2
        served.clear()
        time.sleep(1.1 if "stale" in options else 0)
        again = list(pool.map(get, ["default", "two"]))
        assert set(again) == ({b"page 1", b"page 2"} if options else {b"page 1"})
    assert len(calls) == (2 if options else 1)


def test_the_event_loop_does_not_wait_for_the_server(threads):
    async def view(request):
        return HttpResponse("page")

    async def main():
        cached = cache_page(60)(view)
        return [(await cached(requests.get("/"))).content for _ in range(2)]

    assert asyncio.run(main()) == [b"page"] * 2
    assert threads
    assert threading.get_ident() not in threads


def test_the_first_page_of_a_url_is_stored():
    numbers = itertools.count(1)
    view = cache_page(60)(lambda request: HttpResponse(str(next(numbers))))
    assert [view(requests.get("/")).content for _ in range(3)] == [b"1"] * 3


def test_a_stale_page_that_the_view_has_no_more_is_deleted():
    status = 200
    view = cache_page(0.1, stale=60)(lambda request: HttpResponse("page", status=status))
    view(requests.get("/"))
    time.sleep(0.2)
    status = 404
    assert view(requests.get("/")).status_code == 404
    assert caches["default"].delete_pattern("*.unstored") == 1
    status = 500
    assert view(requests.get("/")).status_code == 500
