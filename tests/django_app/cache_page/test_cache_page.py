"""`cache_page` renders a page once for all that want it, and stores what Django's decorator would store."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from django.conf import settings
from django.core.cache import caches
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.template import engines
from django.template.response import TemplateResponse
from django.test import override_settings
from django.utils.cache import get_cache_key
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import cache_control
from django.views.decorators.cache import cache_page as django_cache_page
from django.views.decorators.vary import vary_on_cookie, vary_on_headers

from nearcache.django import LocalCache, cache_page
from support.caches import new_location
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


def test_renders_a_missing_page_once():
    site = Site()
    responses = at_once(cache_page(60)(site), several())
    assert site.calls == 1
    assert contents(responses) == {"page 1"}


def test_renders_an_expired_page_once(cache):
    site = Site()
    view = cache_page(60)(site)
    view(requests.get("/"))
    cache.delete(get_cache_key(requests.get("/"), cache=cache))
    responses = at_once(view, several())
    assert site.calls == 2
    assert contents(responses) == {"page 2"}


def test_requests_for_other_urls_do_not_wait():
    both = threading.Barrier(2)
    site = Site(lambda request, number: HttpResponse(str(both.wait(SECONDS))), wait=0)
    responses = at_once(cache_page(60)(site), [requests.get("/a"), requests.get("/b")])
    assert contents(responses) == {"0", "1"}


def test_every_waiter_has_a_response_of_its_own():
    responses = at_once(cache_page(60)(Site()), several())
    assert len({id(response) for response in responses}) == CALLERS


def test_pages_are_django_s_pages():
    """A site can go from one decorator to the other and back, and finds its pages again."""
    site = Site(wait=0)
    assert cache_page(60)(site)(requests.get("/")).content == b"page 1"
    assert django_cache_page(60)(site)(requests.get("/")).content == b"page 1"
    assert django_cache_page(60)(site)(requests.get("/other")).content == b"page 2"
    assert cache_page(60)(site)(requests.get("/other")).content == b"page 2"


def test_a_hit_reads_what_django_s_hit_reads(cache):
    def reads(view):
        view(requests.get("/"))
        before = cache.stats()
        view(requests.get("/"))
        after = cache.stats()
        return after.hits - before.hits, after.misses - before.misses, after.flights - before.flights

    site = Site(wait=0)
    assert reads(cache_page(60)(site)) == reads(django_cache_page(60)(site)) == (2, 0, 0)
    assert site.calls == 1


def test_headers_are_django_s_headers():
    site = Site(wait=0)
    theirs = django_cache_page(60, key_prefix="theirs")(site)
    ours = cache_page(60, key_prefix="ours")(site)
    for _ in range(2):
        expected, got = theirs(requests.get("/")), ours(requests.get("/"))
        assert got.headers.keys() == expected.headers.keys()
        assert got.headers["Cache-Control"] == expected.headers["Cache-Control"]


@pytest.mark.parametrize(
    ("vary", "header"),
    [(vary_on_cookie, "cookie"), (vary_on_headers("X-Shop"), "x-shop")],
    ids=["cookie", "header"],
)
def test_pages_that_vary_are_rendered_once_each(vary, header):
    site = Site(lambda request, number: HttpResponse(request.headers[header]))
    view = cache_page(60)(vary(site))
    made = several(**{header: "a=1"}) + several(**{header: "b=2"})
    responses = at_once(view, made)
    assert [response.content.decode() for response in responses] == [r.headers[header] for r in made]
    assert site.calls == 2


def test_languages_are_rendered_once_each():
    site = Site(lambda request, number: HttpResponse(request.LANGUAGE_CODE))
    made = several() + several()
    for index, request in enumerate(made):
        request.LANGUAGE_CODE = ["de", "fr"][index % 2]
    responses = at_once(cache_page(60)(vary_on_headers("Accept-Language")(site)), made)
    assert [response.content.decode() for response in responses] == [r.LANGUAGE_CODE for r in made]
    assert site.calls == 2


def set_cookie(response):
    response.set_cookie("session", "secret")
    return response


NOT_STORED = {
    "private": cache_control(private=True)(lambda request: HttpResponse("x")),
    "no-store": cache_control(no_store=True)(lambda request: HttpResponse("x")),
    "Set-Cookie": vary_on_cookie(lambda request: set_cookie(HttpResponse("x"))),
    "Vary: *": vary_on_headers("*")(lambda request: HttpResponse("x")),
    "404": lambda request: HttpResponse("x", status=404),
    "500": lambda request: HttpResponse("x", status=500),
    "streaming": lambda request: StreamingHttpResponse([b"x"]),
    "_cache_update_cache": lambda request: (
        vars(request).update(_cache_update_cache=False) or HttpResponse("x")
    ),
}


@pytest.mark.parametrize("respond", NOT_STORED.values(), ids=NOT_STORED)
def test_waiters_render_at_once_what_is_not_stored(respond):
    others = threading.Barrier(CALLERS - 1)

    def respond_together(request, number):
        if number > 1:
            others.wait(SECONDS)
        response = respond(request)
        response["X-Number"] = number
        return response

    site = Site(respond_together)
    responses = at_once(cache_page(60)(site), several())
    assert sorted(int(response["X-Number"]) for response in responses) == list(range(1, CALLERS + 1))


@pytest.mark.parametrize("respond", NOT_STORED.values(), ids=NOT_STORED)
def test_stores_no_more_than_django(respond):
    site = Site(lambda request, number: respond(request), wait=0)
    view = cache_page(60)(site)
    for number in range(1, 4):
        view(requests.get("/"))
        assert site.calls == number


def test_nobody_waits_for_a_page_that_was_not_stored_lately():
    everyone = threading.Barrier(CALLERS)

    def respond(request, number):
        if number > 1:
            everyone.wait(SECONDS)
        return HttpResponse(status=404)

    view = cache_page(60)(Site(respond, wait=0))
    view(requests.get("/"))
    assert {response.status_code for response in at_once(view, several())} == {404}


def test_a_page_that_can_be_stored_again_is_stored():
    site = Site(lambda request, number: HttpResponse(str(number), status=404 if number == 1 else 200), wait=0)
    view = cache_page(60)(site)
    assert [view(requests.get("/")).content for _ in range(3)] == [b"1", b"2", b"2"]


def test_posts_neither_wait_nor_are_stored():
    together = threading.Barrier(CALLERS)
    site = Site(lambda request, number: HttpResponse(str(together.wait(SECONDS))), wait=0)
    responses = at_once(cache_page(60)(site), [requests.post("/") for _ in range(CALLERS)])
    assert len(contents(responses)) == CALLERS


def test_head_gets_the_page_of_get():
    site = Site(wait=0)
    view = cache_page(60)(site)
    view(requests.get("/"))
    assert view(requests.head("/")).content == b"page 1"


def test_get_does_not_get_the_page_of_head():
    site = Site(wait=0)
    view = cache_page(60)(site)
    assert [view(requests.head("/")).content for _ in range(2)] == [b"page 1"] * 2
    assert view(requests.get("/")).content == b"page 2"


@pytest.mark.parametrize("error", [ZeroDivisionError, StopIteration])
def test_waiters_for_the_same_page_get_the_leader_s_error(cache, error):
    site = Site(lambda request, number: HttpResponse("x"))
    view = cache_page(60)(site)
    view(requests.get("/"))
    cache.delete(get_cache_key(requests.get("/"), cache=cache))
    before = cache.stats().waits

    def fail_when_all_wait(request, number):
        while cache.stats().waits < before + CALLERS - 1:
            time.sleep(0.01)
        raise error("x")

    site._respond = fail_when_all_wait
    results = at_once(view, several())
    assert {type(result) for result in results} == {error}
    assert site.calls == 2


@pytest.mark.parametrize("error", [Http404, PermissionDenied])
def test_waiters_do_not_get_an_answer_to_another_request(cache, error):
    """Which may depend on the user."""

    def respond(request, number):
        if number == 2:
            raise error
        return HttpResponse("x")

    site = Site(respond)
    view = cache_page(60)(site)
    view(requests.get("/"))
    cache.delete(get_cache_key(requests.get("/"), cache=cache))
    results = at_once(view, several())
    assert [type(result) for result in results].count(error) == 1


def test_the_next_request_after_an_error_renders():
    def respond(request, number):
        if number == 1:
            raise ZeroDivisionError
        return HttpResponse("x")

    view = cache_page(60)(Site(respond, wait=0))
    with pytest.raises(ZeroDivisionError):
        view(requests.get("/"))
    assert len(contents(at_once(view, several()))) == 1


def test_template_responses_are_rendered_after_the_view_and_once():
    site = Site()
    view = cache_page(60)(template_view(site))

    def with_more_context(request):
        response = view(request)
        if not response.is_rendered:
            response.context_data["added"] = "!"
        return response

    responses = at_once(with_more_context, several())
    assert site.calls == 1
    assert contents(responses) == {"page 1!"}
    assert {type(response) for response in responses} == {TemplateResponse}


def test_waiters_of_a_template_response_wait_until_it_is_rendered():
    template = engines["django"].from_string("{{ value }}")
    rendered = Site(lambda request, number: number)
    view = cache_page(60)(
        lambda request: TemplateResponse(request, template, {"value": lambda: rendered(request)})
    )
    assert contents(at_once(view, several())) == {"1"}
    assert rendered.calls == 1


@pytest.mark.parametrize("prefix", [None, "outer"])
def test_a_template_response_in_two_decorators_is_rendered_once(prefix):
    site = Site()
    inner = cache_page(60)(template_view(site))
    assert contents(at_once(cache_page(60, key_prefix=prefix)(inner), several())) == {"page 1"}
    assert contents(at_once(inner, several())) == {"page 1"}
    assert site.calls == 1


SUBCLASSES = []


class Registered(TemplateResponse):
    """A response whose subclasses need a name, and which must be of its own class to be rendered."""

    def __init_subclass__(cls, *, name):
        SUBCLASSES.append(name)

    def render(self):
        assert type(self) is Named
        return super().render()


class Named(Registered, name="named"):
    pass


def test_a_template_response_is_rendered_as_one_of_its_own_class():
    template = engines["django"].from_string("page")
    view = cache_page(60)(lambda request: Named(request, template))
    assert view(requests.get("/")).render().content == b"page"
    assert type(view(requests.get("/"))) is Named
    assert SUBCLASSES == ["named"]


def test_a_template_response_that_is_dropped_keeps_nobody_waiting():
    site = Site(wait=0)
    view = cache_page(60, lock_timeout=10**6)(template_view(site))
    view(requests.get("/"))
    assert view(requests.get("/")).render().content == b"page 2"
    assert view(requests.get("/")).render().content == b"page 2"


def test_if_a_template_response_is_dropped_one_waiter_leads(cache):
    site = Site(wait=0)
    view = cache_page(60, lock_timeout=10**6)(template_view(site))
    leader = requests.get("/")
    response = view(leader)
    with ThreadPoolExecutor(CALLERS) as pool:
        waiters = [pool.submit(lambda request: view(request).render().content, one) for one in several()]
        while cache.stats().waits < CALLERS:
            time.sleep(0.01)
        del response
        assert {waiter.result(SECONDS) for waiter in waiters} == {b"page 2"}


def test_an_error_in_a_template_keeps_nobody_waiting():
    template = engines["django"].from_string("{{ value }}")
    site = Site(failing(ZeroDivisionError))
    view = cache_page(60)(
        lambda request: TemplateResponse(request, template, {"value": lambda: site(request)})
    )
    assert {type(result) for result in at_once(view, several())} == {ZeroDivisionError}


@pytest.mark.overtakes
def test_a_waiter_renders_after_lock_timeout():
    free = threading.Event()

    def respond(request, number):
        if number == 1:
            assert free.wait(SECONDS)
        else:
            free.set()
        return HttpResponse(str(number))

    responses = at_once(cache_page(60, lock_timeout=0.1)(Site(respond, wait=0)), several()[:2])
    assert contents(responses) == {"1", "2"}


def test_class_based_views():
    site = Site()

    class Page(View):
        @method_decorator(cache_page(60))
        def get(self, request):
            return site(request)

    assert contents(at_once(Page.as_view(), several())) == {"page 1"}


def test_other_caches_have_django_s_behaviour():
    with override_settings(CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}):
        site = Site(wait=0)
        view = cache_page(60, stale=60)(site)
        assert [view(requests.get("/")).content for _ in range(2)] == [b"page 1"] * 2


class Wrapping(LocalCache):
    """Stores values in a form of its own."""

    def set(self, key, value, *args, **options):
        super().set(key, ("wrapped", value), *args, **options)

    def add(self, key, value, *args, **options):
        return super().add(key, ("wrapped", value), *args, **options)

    def get(self, key, default=None, *args, **options):
        found = super().get(key, None, *args, **options)
        return default if found is None else found[1]


def test_the_methods_of_a_subclass_store_and_read_pages():
    with override_settings(
        CACHES={"default": {"BACKEND": f"{__name__}.Wrapping", "LOCATION": new_location()}}
    ):
        site = Site()
        view = cache_page(60, stale=60, early=10**6)(site)
        assert contents(at_once(view, several())) == {"page 1"}
        assert contents(at_once(view, several())) == {"page 1"}
        assert site.calls == 1
        caches["default"].delete(get_cache_key(requests.get("/"), cache=caches["default"]))
        assert contents(at_once(view, several())) == {"page 2"}


def test_options_have_the_cache_s_defaults(monkeypatch):
    params = {
        "BACKEND": "nearcache.django.LocalCache",
        "LOCATION": new_location(),
        "OPTIONS": {"CLOCK": CLOCK.path, "GET_OR_SET": {"stale": 60}},
    }
    site = Site(wait=0)
    with override_settings(CACHES={"default": params}):
        view = cache_page(60)(site)
        view(requests.get("/"))
        site._respond = failing(ZeroDivisionError)
        with later(monkeypatch, 61):
            assert view(requests.get("/")).content == b"page 1"
            with pytest.raises(ZeroDivisionError):
                cache_page(60, stale=0)(site)(requests.get("/"))


def test_a_page_that_is_deleted_while_it_is_rendered_is_not_stored(cache):
    site = Site(wait=0)
    view = cache_page(60)(site)
    view(requests.get("/"))
    key = get_cache_key(requests.get("/"), cache=cache)

    def respond(request, number):
        cache.delete(key)
        return HttpResponse("old")

    cache.delete(key)
    site._respond = respond
    assert view(requests.get("/")).content == b"old"
    assert cache.get(key) is None


def test_a_page_is_not_stored_if_the_cache_is_cleared_while_it_is_rendered(cache):
    site = Site(lambda request, number: HttpResponse("old" if number > 1 or cache.clear() else "new"), wait=0)
    view = cache_page(60)(site)
    view(requests.get("/"))
    assert get_cache_key(requests.get("/"), cache=cache) is not None
    assert cache.get(get_cache_key(requests.get("/"), cache=cache)) is None


def test_the_list_of_headers_outlives_the_stale_page(cache):
    params = settings.CACHES["default"]
    jittered = {**params, "OPTIONS": {**params["OPTIONS"], "JITTER": 0.9}}
    with override_settings(CACHES={"default": jittered}):
        for number in range(50):
            path = f"/{number}"
            cache_page(600, stale=300)(Site(wait=0))(requests.get(path))
    lists = [key for key in caches["default"].keys("*") if "cache_header" in key]
    assert len(lists) == 50
    assert min(map(caches["default"].ttl, lists)) >= 960


def test_a_page_with_a_negative_timeout_leaves_nothing(cache):
    cache_page(-1)(Site(wait=0))(requests.get("/"))
    assert cache.keys("*") == []


def test_times_of_several_types(cache):
    view = cache_page(60.5, stale=Decimal(5))(Site(wait=0))
    assert [view(requests.get("/")).content for _ in range(2)] == [b"page 1"] * 2


def test_asynchronous_views_are_rendered_once():
    site = Site()
    responses = run_at_once(cache_page(60)(site.asynchronous), several())
    assert site.calls == 1
    assert contents(responses) == {"page 1"}


def test_asynchronous_waiters_render_at_once_what_is_not_stored():
    async def view(request):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.1)
        running -= 1
        return HttpResponse("x", status=404)

    running = most = 0
    responses = run_at_once(cache_page(60)(view), several())
    assert {response.status_code for response in responses} == {404}
    assert most == CALLERS - 1


def test_if_an_asynchronous_leader_is_cancelled_another_one_leads():
    site = Site()
    view = cache_page(60)(site.asynchronous)

    async def cancel_the_first():
        tasks = [asyncio.ensure_future(view(request)) for request in several()]
        while not site.calls:
            await asyncio.sleep(0)
        tasks[0].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    cancelled, *responses = asyncio.run(cancel_the_first())
    assert isinstance(cancelled, asyncio.CancelledError)
    assert contents(responses) == {"page 2"}
    assert site.calls == 2


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"stale": "10"}, TypeError, "stale is '10' (str); expected a number of seconds, 0 or more"),
        ({"jitter": 2}, ValueError, "jitter is 2; expected a fraction, at least 0 and less than 1"),
        ({"refresh": "soon"}, ValueError, "refresh is 'soon'; expected 'caller' or 'background'"),
    ],
)
def test_options_are_checked_at_once(options, error, message):
    with pytest.raises(error) as raised:
        cache_page(60, **options)
    assert str(raised.value) == message
