"""The cache middleware for a whole site renders a page once, and stores what Django's would store."""

import asyncio
import gc
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache
from django.http import HttpResponse
from django.template import engines
from django.template.response import TemplateResponse
from django.test import AsyncClient, Client, RequestFactory, override_settings
from django.urls import path
from django.utils.asyncio import async_unsafe
from django.utils.deprecation import MiddlewareMixin
from django.views.decorators.cache import cache_control

from nearcache.django import LocalCache
from nearcache.django.middleware import FetchFromCacheMiddleware
from support.caches import new_location

CALLERS = 12
SECONDS = 20
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]


class CallsOfViews:
    """Counts the calls of the views here, and may hold them."""

    def __init__(self):
        self.count = 0
        self.barrier = None
        self._lock = threading.Lock()

    def add(self):
        with self._lock:
            self.count += 1
            count = self.count
        if count > 1 and self.barrier is not None:
            self.barrier.wait(SECONDS)
        time.sleep(0.2)
        return count


CALLS = CallsOfViews()


def plain(request):
    return HttpResponse(f"page {CALLS.add()}")


def template(request):
    found = engines["django"].from_string("page {{ call }}{{ added }}")
    return TemplateResponse(request, found, {"call": CALLS.add})


async def asynchronous(request):
    CALLS.count += 1
    count = CALLS.count
    await asyncio.sleep(0.2)
    return HttpResponse(f"page {count}")


@cache_control(private=True)
def private(request):
    return HttpResponse(f"page {CALLS.add()}")


def failing(request):
    raise ZeroDivisionError(CALLS.add())


def language(request):
    CALLS.add()
    return HttpResponse(request.LANGUAGE_CODE)


def session(request):
    request.session["seen"] = True
    return HttpResponse(f"page {CALLS.add()}")


VIEWS = (plain, template, asynchronous, private, failing, language, session)
urlpatterns = [path(view.__name__, view) for view in VIEWS]


class AddToTemplates(MiddlewareMixin):
    def process_template_response(self, request, response):
        response.context_data["added"] = "!"
        return response


MIDDLEWARE = [
    "nearcache.django.middleware.UpdateCacheMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    f"{__name__}.AddToTemplates",
    "nearcache.django.middleware.FetchFromCacheMiddleware",
]


@pytest.fixture(autouse=True)
def _site():
    CALLS.__init__()
    with override_settings(
        ROOT_URLCONF=__name__,
        ALLOWED_HOSTS=["testserver"],
        TEMPLATES=TEMPLATES,
        MIDDLEWARE=MIDDLEWARE,
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
        CACHES={"default": {"BACKEND": "nearcache.django.LocalCache", "LOCATION": new_location()}},
    ):
        yield
        caches["default"].clear()


def at_once(path, *languages):
    """Get a page with several clients at once."""
    begin = threading.Barrier(CALLERS)

    def get(number):
        client = Client(raise_request_exception=False)
        begin.wait(SECONDS)
        headers = {"accept-language": languages[number % len(languages)]} if languages else {}
        return client.get(path, headers=headers)

    with ThreadPoolExecutor(CALLERS) as pool:
        return list(pool.map(get, range(CALLERS)))


def contents(responses):
    return {response.content.decode() for response in responses}


def test_renders_a_page_once():
    assert contents(at_once("/plain")) == {"page 1"}
    assert contents(at_once("/plain")) == {"page 1"}
    assert CALLS.count == 1


def test_a_template_response_gets_the_context_of_other_middleware():
    assert contents(at_once("/template")) == {"page 1!"}
    assert CALLS.count == 1


def test_a_language_is_rendered_once():
    responses = at_once("/language", "de", "fr", "it")
    assert [response.content.decode() for response in responses] == ["de", "fr", "it"] * (CALLERS // 3)
    assert CALLS.count == 3


@pytest.mark.parametrize("view", ["private", "session", "failing"])
def test_waiters_render_at_once_what_is_not_stored(view):
    CALLS.barrier = threading.Barrier(CALLERS - 1)
    assert {response.status_code for response in at_once(f"/{view}")} == {500 if view == "failing" else 200}
    assert CALLS.count == CALLERS


def gather(path):
    async def everything():
        return await asyncio.gather(*(AsyncClient().get(path) for _ in range(CALLERS)))

    return asyncio.run(everything())


def test_renders_an_asynchronous_page_once():
    assert contents(gather("/asynchronous")) == {"page 1"}
    assert CALLS.count == 1


def test_the_single_class():
    with override_settings(MIDDLEWARE=["nearcache.django.middleware.CacheMiddleware"]):
        assert contents(at_once("/plain")) == {"page 1"}
        assert contents(gather("/asynchronous")) == {"page 2"}
    assert CALLS.count == 2


@pytest.mark.skipif(
    sys.version_info < (3, 11), reason="CPython 3.10 keeps frames of Django, and so the request, in a circle"
)
def test_a_request_that_is_dropped_keeps_nobody_waiting():
    fetch = FetchFromCacheMiddleware(lambda request: HttpResponse("x"))
    gc.disable()
    try:
        for _ in range(2):
            fetch(RequestFactory().get("/"))
    finally:
        gc.enable()
    assert caches["default"].stats().waits == 0


class Refusing(LocalCache):
    """Cannot store pages."""

    def set(self, key, value, *args, **options):
        if isinstance(value, HttpResponse):
            raise TypeError("cannot store this")
        super().set(key, value, *args, **options)


def test_all_waiters_get_the_error_of_a_cache_that_cannot_store_the_page():
    cache = {"default": {"BACKEND": f"{__name__}.Refusing", "LOCATION": new_location()}}
    with override_settings(CACHES=cache):
        # The second time, the headers that the page varies by are known.
        assert {response.status_code for response in at_once("/plain")} == {500}
        calls = CALLS.count
        caches["default"].delete_pattern("*.unstored")
        assert {response.status_code for response in at_once("/plain")} == {500}
        assert CALLS.count == calls + 1


class MayWait:
    """Refuses to be used in the thread of an event loop, as a database does."""

    get = async_unsafe(lambda self, *args, **options: super().get(*args, **options))
    set = async_unsafe(lambda self, *args, **options: super().set(*args, **options))


class OtherCache(MayWait, LocMemCache):
    pass


class OwnCache(MayWait, LocalCache):
    pass


@pytest.mark.parametrize("kind", [OtherCache, OwnCache])
@pytest.mark.parametrize(
    "middleware", [MIDDLEWARE, ["nearcache.django.middleware.CacheMiddleware"]], ids=["pair", "single class"]
)
def test_a_cache_that_may_wait_is_used_outside_of_the_event_loop(kind, middleware):
    cache = {"default": {"BACKEND": f"{__name__}.{kind.__name__}", "LOCATION": new_location()}}
    with override_settings(CACHES=cache, MIDDLEWARE=middleware):
        pages = contents(gather("/asynchronous")) | contents(gather("/asynchronous"))
        assert pages == {"page 1"} or kind is OtherCache
        calls = CALLS.count
        assert {response.status_code for response in gather("/asynchronous")} == {200}
        assert CALLS.count == calls
        # What is not stored, and an exception.
        assert {response.status_code for response in gather("/private")} == {200}
        with pytest.raises(ZeroDivisionError):
            gather("/failing")
