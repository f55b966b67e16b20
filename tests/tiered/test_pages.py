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
from support.caches import new_location

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


@pytest.fixture
def machines(server, shared_memory):
    """Configure the caches of two machines, ``one`` and ``two``."""
    # The copies of another test's page may not have been invalidated yet.
    prefix = new_location()

    def settings(name):
        return {
            "BACKEND": "nearcache.django.TieredCache",
            "LOCATION": server.url,
            "KEY_PREFIX": prefix,
            "OPTIONS": {
                "NEAR": "shared",
                "NEAR_LOCATION": str(shared_memory / f"{prefix}-{name}"),
                "MAX_MEMORY": "1MB",
            },
        }

    with override_settings(
        CACHES={"default": settings("one"), "one": settings("one"), "two": settings("two")}
    ):
        yield


def on_both(get):
    """Call a function for both machines at once; return the results."""
    begin = threading.Barrier(2)

    def call(alias):
        begin.wait(60)
        return get(alias)

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(call, ["one", "two"]))


def test_one_machine_renders_a_missing_page_with_distributed(machines):
    numbers = itertools.count(1)

    def view(request):
        time.sleep(0.3)
        return HttpResponse(str(next(numbers)))

    def get(alias):
        return cache_page(60, cache=alias, distributed=True)(view)(requests.get("/")).content

    assert on_both(get) == [b"1"] * 2


@pytest.mark.parametrize("options", [{"stale": 60}, {"early": 10**12}], ids=["stale", "early"])
def test_one_machine_renders_an_old_page_with_distributed(machines, options):
    numbers = itertools.count(1)
    served = threading.Event()

    def view(request):
        number = next(numbers)
        if number > 1:
            assert served.wait(60)
        return HttpResponse(str(number))

    def get(alias):
        seconds = 0.2 if "stale" in options else 60
        cached = cache_page(seconds, cache=alias, distributed=True, **options)(view)
        content = cached(requests.get("/")).content
        if content == b"1":
            served.set()
        return content

    assert get("one") == b"1"
    served.clear()
    time.sleep(0.3 if "stale" in options else 0)
    assert set(on_both(get)) == {b"1", b"2"}


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
