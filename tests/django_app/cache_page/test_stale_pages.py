"""`cache_page` with `stale` and `early`: pages that are rendered again while the old one is handed out."""

import logging
import threading
import time

import pytest
from django.http import Http404, HttpResponse
from django.template import engines
from django.template.response import TemplateResponse
from django.utils.cache import get_cache_key, patch_cache_control
from django.utils.http import http_date, parse_http_date
from django.views.decorators.cache import cache_page as django_cache_page

from nearcache.django import cache_page
from nearcache.django.pages.page_flight import PageStore
from nearcache.django.single_flight import background
from nearcache.django.single_flight.run import run
from support.flights import wait_for_refreshes
from support.manual_clock import CLOCK
from support.pages import (
    CALLERS,
    SECONDS,
    Site,
    at_once,
    contents,
    failing,
    later,
    requests,
    run_at_once,
    several,
    template_view,
)


def test_one_caller_renders_a_stale_page_and_the_others_get_the_old_one(monkeypatch):
    everyone_else = threading.Barrier(CALLERS)

    def respond(request, number):
        if number == 2:
            everyone_else.wait(SECONDS)
        return HttpResponse(f"page {number}")

    site = Site(respond, wait=0)
    view = cache_page(60, stale=60)(site)
    view(requests.get("/"))

    def through(request):
        response = view(request)
        if response.content == b"page 1":
            everyone_else.wait(SECONDS)
        return response

    with later(monkeypatch, 61):
        responses = at_once(through, several())
        assert site.calls == 2
        assert [response.content for response in responses].count(b"page 2") == 1
        assert view(requests.get("/")).content == b"page 2"
        assert site.calls == 2


def test_browsers_do_not_keep_a_stale_page(monkeypatch):
    def respond(request, number):
        if number == 2:
            raise ZeroDivisionError
        return HttpResponse("x")

    view = cache_page(60, stale=60)(Site(respond, wait=0))
    view(requests.get("/"))
    with later(monkeypatch, 65):
        page = view(requests.get("/"))
        assert page["Cache-Control"] == "max-age=0"
        assert int(page["Age"]) in {65, 66}


def test_no_header_of_the_view_lets_browsers_keep_a_stale_page(monkeypatch):
    tomorrow = time.time() + 86400

    def respond(request, number):
        if number == 2:
            raise ZeroDivisionError
        response = HttpResponse("x", headers={"Expires": http_date(tomorrow)})
        patch_cache_control(response, public=True, s_maxage=600, stale_while_revalidate=600, immutable=True)
        return response

    view = cache_page(60, stale=60)(Site(respond, wait=0))
    assert "s-maxage=600" in view(requests.get("/"))["Cache-Control"]
    with later(monkeypatch, 65):
        page = view(requests.get("/"))
        assert page["Cache-Control"] == "public, max-age=0"
        assert parse_http_date(page["Expires"]) <= time.time()


def test_a_page_is_not_handed_out_after_its_stale_time(monkeypatch):
    site = Site(wait=0)
    view = cache_page(60, stale=30)(site)
    view(requests.get("/"))
    site._respond = failing(ZeroDivisionError)
    with later(monkeypatch, 91), pytest.raises(ZeroDivisionError):
        view(requests.get("/"))


def test_django_s_decorator_does_not_find_a_stale_page(monkeypatch):
    site = Site(wait=0)
    cache_page(60, stale=60)(site)(requests.get("/"))
    with later(monkeypatch, 61):
        assert django_cache_page(60)(site)(requests.get("/")).content == b"page 2"


@pytest.mark.parametrize("kind", [ZeroDivisionError, StopIteration])
def test_the_old_page_is_handed_out_if_the_view_raises(monkeypatch, caplog, kind):
    error = kind("of the view")
    site = Site(wait=0)
    view = cache_page(60, stale=60)(site)
    view(requests.get("/?q"))
    site._respond = failing(error)
    with later(monkeypatch, 61), caplog.at_level(logging.ERROR, "nearcache"):
        assert view(requests.get("/?q")).content == b"page 1"
    (record,) = caplog.records
    assert record.exc_info[1] is error
    assert record.getMessage() == "nearcache: refreshing the page / failed"


def test_the_old_page_is_handed_out_if_the_view_returns_an_error(monkeypatch, caplog):
    site = Site(wait=0)
    view = cache_page(60, stale=60)(site)
    view(requests.get("/"))
    site._respond = lambda request, number: HttpResponse(status=503)
    with later(monkeypatch, 61), caplog.at_level(logging.ERROR, "nearcache"):
        assert view(requests.get("/")).content == b"page 1"
    assert [record.getMessage() for record in caplog.records] == [
        "nearcache: refreshing the page / failed: status 503"
    ]


def test_the_old_page_is_handed_out_if_its_template_fails(monkeypatch, caplog):
    def value(number):
        if number == 2:
            raise ZeroDivisionError
        return number

    template = engines["django"].from_string("{{ value }}")
    site = Site(lambda request, number: lambda: value(number), wait=0)
    view = cache_page(60, stale=60)(
        lambda request: TemplateResponse(request, template, {"value": site(request)})
    )
    view(requests.get("/")).render()
    with later(monkeypatch, 61):
        assert [view(requests.get("/")).render().content for _ in range(3)] == [b"1", b"3", b"3"]
    assert [record.getMessage() for record in caplog.records] == ["nearcache: refreshing the page / failed"]


@pytest.mark.parametrize("gone", [failing(Http404()), lambda request, number: HttpResponse(status=410)])
def test_the_old_page_is_deleted_if_the_view_has_none_any_more(monkeypatch, cache, gone):
    site = Site(wait=0)
    view = cache_page(60, stale=60)(site)
    view(requests.get("/"))
    site._respond = gone
    with later(monkeypatch, 61):
        assert "page 1" not in contents(
            r for r in at_once(view, [requests.get("/")]) if isinstance(r, HttpResponse)
        )
    assert cache.get(get_cache_key(requests.get("/"), cache=cache)) is None


def not_modified(request, number):
    return HttpResponse(status=304 if request.headers.get("If-None-Match") else 200)


@pytest.mark.parametrize("options", [{"stale": 60}, {"early": 10**12}], ids=["stale", "early"])
def test_the_old_page_stays_if_the_leader_s_client_has_it(monkeypatch, cache, options):
    view = cache_page(60, **options)(Site(not_modified, wait=0.01))
    view(requests.get("/"))
    key = get_cache_key(requests.get("/"), cache=cache)
    with later(monkeypatch, 61 if "stale" in options else 30):
        assert view(requests.get("/", headers={"If-None-Match": '"x"'})).status_code == 304
        assert not cache.has_key(f"{key}.unstored")
        assert cache._join(key, None, 60, None)[2] if "stale" in options else cache.has_key(key)


def test_a_fresh_page_stays_if_it_cannot_be_rendered_early(cache):
    site = Site(wait=0.01)
    view = cache_page(60, early=10**12)(site)
    view(requests.get("/"))
    CLOCK.advance(30)
    site._respond = lambda request, number: HttpResponse(status=403)
    assert view(requests.get("/")).status_code == 403
    assert cache.get(get_cache_key(requests.get("/"), cache=cache)).content == b"page 1"


@pytest.mark.parametrize("status", [200, 404])
def test_a_leader_does_not_delete_the_page_that_was_stored_meanwhile(monkeypatch, cache, status):
    site = Site(wait=0)
    view = cache_page(60, stale=60)(site)
    view(requests.get("/"))
    key = get_cache_key(requests.get("/"), cache=cache)

    def respond(request, number):
        if number == 2:
            cache.delete(key)
            assert view(requests.get("/")).content == b"page 3"
            return HttpResponse("from old data", status=status)
        return HttpResponse(f"page {number}")

    site._respond = respond
    with later(monkeypatch, 61):
        view(requests.get("/"))
        assert cache.get(key).content == b"page 3"


def test_one_caller_renders_a_page_early(monkeypatch):
    site = Site()
    view = cache_page(60, early=10**6)(site)
    view(requests.get("/"))
    CLOCK.advance(30)
    responses = at_once(view, several())
    assert site.calls == 2
    assert contents(responses) == {"page 1", "page 2"}
    assert {response["Cache-Control"] for response in responses} == {"max-age=60"}


@pytest.mark.parametrize("refresh", ["caller", "background"])
def test_an_old_page_that_is_handed_out_is_counted_once(cache, monkeypatch, refresh):
    site = Site(wait=0)
    view = cache_page(60, stale=60, refresh=refresh)(site)
    view(requests.get("/"))
    site._respond = failing(ZeroDivisionError)
    with later(monkeypatch, 61):
        assert view(requests.get("/")).content == b"page 1"
        if refresh == "background":
            wait_for_refreshes()
    stats = cache.stats()
    assert (stats.stale_hits, stats.refreshes, stats.failed_refreshes) == (1, 1, 1)


@pytest.mark.parametrize("fails", [False, True])
def test_a_page_that_is_rendered_early_in_the_background_is_not_stale(cache, fails):
    site = Site()
    view = cache_page(60, early=10**6, refresh="background")(site)
    view(requests.get("/"))
    if fails:
        site._respond = failing(ZeroDivisionError)
    CLOCK.advance(30)
    assert view(requests.get("/")).content == b"page 1"
    wait_for_refreshes()
    assert (cache.stats().stale_hits, cache.stats().refreshes) == (0, 1)


def test_jitter_shortens_the_time_in_the_cache(cache):
    keys = []
    for number in range(50):
        request = requests.get(f"/{number}")
        assert cache_page(100, jitter=0.5)(Site(wait=0))(request)["Cache-Control"] == "max-age=100"
        keys.append(get_cache_key(request, cache=cache))
    lifetimes = [cache.ttl(key) for key in keys]
    assert min(lifetimes) >= 50
    assert max(lifetimes) <= 100
    assert len(set(lifetimes)) > 1


def test_a_page_is_rendered_in_the_background(cache, monkeypatch):
    free, rendered = threading.Event(), threading.Event()

    def respond(request, number):
        if number == 2:
            assert free.wait(SECONDS)
            assert request is not first
            rendered.set()
        return HttpResponse(f"page {number}")

    first = requests.get("/")
    view = cache_page(60, stale=60, refresh="background")(Site(respond, wait=0))
    view(first)
    with later(monkeypatch, 61):
        first = requests.get("/")
        assert view(first).content == b"page 1"
        assert view(requests.get("/")).content == b"page 1"
        assert cache.stats().stale_hits == 2
        free.set()
        assert rendered.wait(SECONDS)
        while (page := view(requests.get("/")).content) == b"page 1":
            time.sleep(0.01)
        assert page == b"page 2"


def test_a_view_that_ends_its_thread_in_the_background_is_logged(monkeypatch, caplog):
    def respond(request, number):
        if number == 2:
            raise SystemExit
        return HttpResponse(f"page {number}")

    view = cache_page(60, stale=60, refresh="background")(Site(respond, wait=0))
    view(requests.get("/"))
    with later(monkeypatch, 61):
        assert view(requests.get("/")).content == b"page 1"
        wait_for_refreshes()
        (record,) = caplog.records
        assert record.exc_info[0] is SystemExit
        assert view(requests.get("/")).content == b"page 1"
        wait_for_refreshes()
        assert view(requests.get("/")).content == b"page 3"


def test_a_template_response_is_not_rendered_in_the_background(monkeypatch):
    """Because other middleware and decorators may add to its context before Django renders it."""
    site = Site(wait=0)
    view = cache_page(60, stale=60, refresh="background")(template_view(site))
    view(requests.get("/")).render()
    with later(monkeypatch, 61):
        assert view(requests.get("/")).render().content == b"page 2"


def test_a_template_response_that_takes_the_place_of_a_page_is_rendered_by_the_next_request(monkeypatch):
    site = Site(wait=0)
    options = {"stale": 60, "refresh": "background"}
    cache_page(60, **options)(site)(requests.get("/"))
    monkeypatch.setattr(background, "start_thread", lambda call, flow, _: run(call, flow) or True)
    view = cache_page(60, **options)(template_view(site))
    with later(monkeypatch, 61):
        assert view(requests.get("/")).content == b"page 1"
        assert [view(requests.get("/")).render().content for _ in range(2)] == [b"page 3"] * 2


def test_the_first_page_of_a_url_is_stored_before_the_list_of_its_headers(monkeypatch, cache):
    store, known = PageStore.store, []

    def stored(self, key, page, timeout):
        known.append(get_cache_key(requests.get("/"), cache=cache))
        return store(self, key, page, timeout)

    monkeypatch.setattr(PageStore, "store", stored)
    cache_page(60)(Site(wait=0))(requests.get("/"))
    assert known == [None]
    assert cache.get(get_cache_key(requests.get("/"), cache=cache)).content == b"page 1"


def test_the_cost_of_a_page_does_not_include_the_wait_for_a_thread(monkeypatch, cache):
    def start(call, flow, on_failure):
        time.sleep(0.5)
        run(call, flow)
        return True

    monkeypatch.setattr(background, "start_thread", start)
    view = cache_page(60, stale=60, refresh="background")(Site(wait=0))
    view(requests.get("/"))
    with later(monkeypatch, 61):
        assert view(requests.get("/")).content == b"page 1"
        cache.reset_stats()
        assert view(requests.get("/")).content == b"page 2"
    assert cache.stats().time_saved < 0.5


def test_asynchronous_stale_pages(monkeypatch):
    site = Site()
    view = cache_page(60, stale=60)(site.asynchronous)
    run_at_once(view, several())
    with later(monkeypatch, 61):
        responses = run_at_once(view, several())
    assert site.calls == 2
    assert [response.content for response in responses].count(b"page 2") == 1
