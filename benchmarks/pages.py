"""The URLs of `overhead pages`: a page for each cache, and an empty one without a cache."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.cache import cache_page

from . import values


def empty(_: HttpRequest) -> HttpResponse:
    """Return an empty page."""
    return HttpResponse()


def page(_: HttpRequest) -> HttpResponse:
    """Return a page of 20 KB."""
    return HttpResponse(values.markup(1, 20_000))


urlpatterns = [
    path("empty", empty),
    *(path(alias, cache_page(300, cache=alias)(page)) for alias in settings.CACHES),
]
