"""Django's cache middleware for a whole site, with single flight.

Replaces both classes of Django's pair, in the same places::

    MIDDLEWARE = [
        "nearcache.django.middleware.UpdateCacheMiddleware",
        ...
        "nearcache.django.middleware.FetchFromCacheMiddleware",
    ]

or Django's `CacheMiddleware` with the one here. `FetchFromCacheMiddleware` lets a request wait for a page
that another request renders, or makes it the leader. `UpdateCacheMiddleware` stores the leader's response,
after all other middleware, and ends the flight. The options are those in ``OPTIONS["GET_OR_SET"]`` of the
cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware import cache as django_cache

from nearcache.django.pages.flow import respond
from nearcache.django.pages.rendering import take_rendering
from nearcache.django.pages.rules import PageRules
from nearcache.django.single_flight.run import arun, run


class UpdateCacheMiddleware(PageRules, django_cache.UpdateCacheMiddleware):  # type: ignore[misc]
    """Stores pages as Django's class does, and ends their flights. Must be the first middleware."""

    def __call__(self, request: HttpRequest) -> Any:
        """Returns the response to a request, or an awaitable of it."""
        if self.async_mode:
            return self._acall(request)
        try:
            response = cast("HttpResponseBase", self.get_response(request))
            return self._update(request, response)
        finally:
            _end_flight(request)

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        try:
            response: Any = await cast("Any", self.get_response(request))
            updated: HttpResponseBase = await self.acall(self._update, request, response)
            return updated
        finally:
            _end_flight(request)

    def _update(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        rendering = take_rendering(request)
        if rendering is None:
            return self.process_response(request, response)
        updated: HttpResponseBase = rendering.go_on(lambda: rendering.store(response, self))
        return updated


class _FindingMiddleware(PageRules):
    """Finds pages, or waits for them, before the next middleware."""

    if TYPE_CHECKING:
        async_mode: bool
        get_response: Callable[[HttpRequest], Any]

    def __call__(self, request: HttpRequest) -> Any:
        """Returns the response to a request, or an awaitable of it."""
        if self.async_mode:
            return self._acall(request)
        page, elected = self.find_early(request)
        if page is not None and elected is None:
            return page
        return run(self, respond(self, self.get_response, request, elected))

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        page, elected = await self.afind_early(request)
        if page is not None and elected is None:
            return page
        response: HttpResponseBase = await arun(self, respond(self, self.get_response, request, elected))
        return response


class FetchFromCacheMiddleware(_FindingMiddleware, django_cache.FetchFromCacheMiddleware):  # type: ignore[misc]
    """Finds pages as Django's class does, or waits for them. Must be the last middleware."""

    stores_later = True


class CacheMiddleware(_FindingMiddleware, django_cache.CacheMiddleware):  # type: ignore[misc]
    """Finds and stores pages, as Django's class of this name does."""


def _end_flight(request: HttpRequest) -> None:
    """Ends the flight of a request whose response is not stored because of an exception."""
    rendering = take_rendering(request)
    if rendering is not None:
        rendering.abandon()
