"""Pages in a TieredCache: the event loop does not wait for the server."""

import asyncio
import threading
import time

import pytest
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


def test_the_event_loop_does_not_wait_for_the_server(threads):
    async def view(request):
        return HttpResponse("page")

    async def main():
        cached = cache_page(60)(view)
        return [(await cached(requests.get("/"))).content for _ in range(2)]

    assert asyncio.run(main()) == [b"page"] * 2
    assert threads
    assert threading.get_ident() not in threads


def test_a_stale_page_that_the_view_has_no_more_is_deleted():
    status = 200
    view = cache_page(0.1, stale=60)(lambda request: HttpResponse("page", status=status))
    view(requests.get("/"))
    time.sleep(0.2)
    status = 404
    assert view(requests.get("/")).status_code == 404
    status = 500
    assert view(requests.get("/")).status_code == 500
