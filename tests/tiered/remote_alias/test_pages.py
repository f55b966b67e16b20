"""`cache_page` before another cache: pages are stored there, and rendered once on the machine."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.cache import caches
from django.http import HttpResponse
from django.test import RequestFactory, override_settings

from nearcache.django import cache_page
from tiered.remote_alias.remotes import LONG

CALLERS = 8
requests = RequestFactory()


@pytest.fixture(autouse=True)
def _site(tmp_path, monkeypatch):
    monkeypatch.setattr("nearcache.django.location.SHARED_MEMORY", tmp_path)
    with override_settings(ALLOWED_HOSTS=["testserver"]):
        yield


@pytest.fixture(params=[None, "local", "shared"])
def pair(request, configure, shared_options):
    options = shared_options if request.param == "shared" else {"NEAR": request.param}
    return configure(**options)


class Site:
    """A view that counts its calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, request):
        self.calls += 1
        return HttpResponse(f"page {self.calls}")

    async def asynchronous(self, request):
        return self(request)


# `stale` and `early` have no effect there.
OPTIONS = {"stale": 60, "early": 1}


def test_a_page_is_stored(pair):
    _, remote = pair
    site = Site()
    view = cache_page(LONG, **OPTIONS)(site)
    assert [view(requests.get("/")).content for _ in range(3)] == [b"page 1"] * 3
    remote.clear()
    caches["default"].clear()
    assert [view(requests.get("/")).content for _ in range(3)] == [b"page 2"] * 3


def test_a_page_of_an_asynchronous_view_is_stored(pair):
    site = Site()
    view = cache_page(LONG, **OPTIONS)(site.asynchronous)

    async def main():
        return [(await view(requests.get("/"))).content for _ in range(3)]

    assert asyncio.run(main()) == [b"page 1"] * 3


def test_a_page_is_rendered_once(pair):
    site = Site()
    begin = threading.Barrier(CALLERS)
    view = cache_page(LONG, **OPTIONS)(site)

    def call(_):
        begin.wait(LONG)
        return view(requests.get("/")).content

    with ThreadPoolExecutor(CALLERS) as pool:
        assert set(pool.map(call, range(CALLERS))) == {b"page 1"}
    assert site.calls == 1
