"""`Rendering`: one call of a view, which stores the response, and ends the flight that waits for it."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Generator
from functools import lru_cache, partial
from http import HTTPStatus
from typing import Any, NamedTuple

from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.http import Http404, HttpRequest
from django.http.multipartparser import MultiPartParserError
from django.http.response import HttpResponseBase

from nearcache.django.pages.effects import Render, UseCache
from nearcache.django.pages.page_flight import ERROR_SECONDS, UNSTORED_SECONDS, PageFlight
from nearcache.django.pages.rules import PageRules
from nearcache.django.single_flight.run import raised_by

_LOG = logging.getLogger("nearcache")

# The exceptions that Django turns into responses with a status of 400 to 404. They are answers to one
# request, for which another one may get a page.
ANSWERS = (BadRequest, Http404, MultiPartParserError, PermissionDenied, SuspiciousOperation)
# The attribute of a response that is still to be rendered, or of a request whose response is still to be
# stored.
_RENDERING = "_nearcache_rendering"

Flow = Generator[Any, Any, HttpResponseBase]
View = Callable[[HttpRequest], Any]


class OldPage(NamedTuple):
    """A page that is handed out while it is rendered again, or if that fails."""

    page: HttpResponseBase
    is_stale: bool


class Rendering:
    """One call of a view by a leader, or without a flight."""

    def __init__(
        self,
        rules: PageRules,
        view: View,
        request: HttpRequest,
        flight: PageFlight | None = None,
        old: OldPage | None = None,
    ) -> None:
        """Takes the flight, and the page to hand out if the view fails."""
        self._rules = rules
        self._view = view
        self.request = request
        # Not in the background.
        self.has_caller = True
        self._flight = flight
        self._old = old
        self._begin = 0.0

    def __del__(self) -> None:
        """Lets a waiter lead if the response was dropped before it was rendered."""
        self.abandon()

    def run(self) -> Flow:
        """Calls the view; returns its response, or the old page if it failed."""
        self._begin = time.perf_counter()
        if self._old is not None:
            # Django's middleware has found a page, so that it would not store another one.
            self.request._cache_update_cache = True  # type: ignore[attr-defined]
        try:
            response: HttpResponseBase = yield self._effect(lambda: self._view(self.request))
            if self._rules.stores_later:
                return self._hand_over(response)
            if is_rendered(response):
                response = yield UseCache(lambda: self.store(response))
                return response
            self._defer(response)
            return response
        except Exception as error:
            old: HttpResponseBase = yield UseCache(partial(self.fail, error))
            return old
        except BaseException:
            self.abandon()
            raise

    def go_on(self, step: Callable[[], Any]) -> Any:
        """Renders or stores the response that the view has returned; returns the old page if that fails."""
        try:
            return self._effect(step).act(None)
        except Exception as error:
            return self.fail(error)

    def store(self, response: HttpResponseBase, rules: PageRules | None = None) -> HttpResponseBase:
        """Stores a rendered response if Django would; returns it, or the old page if it is an error."""
        if self._has_failed(response):
            return self._hand_out_old_page()
        cost = time.perf_counter() - self._begin
        response, stored = (rules or self._rules).store(self.request, response, self._flight, cost)
        if stored or response.status_code == HTTPStatus.NOT_MODIFIED:
            # "Not modified" is for this client, and says nothing of the page.
            self._finish(stored=stored)
        else:
            self._refuse(response.status_code)
        return response

    def fail(self, error: Exception) -> HttpResponseBase:
        """Returns the old page if there is one; otherwise raises the error of the view."""
        if isinstance(error, ANSWERS):
            self._refuse(HTTPStatus.NOT_FOUND)
            raise error
        if self._old is not None:
            self._log("nearcache: refreshing the page %s failed", error)
            return self._hand_out_old_page()
        if self._flight is not None:
            self._flight.fail(raised_by(error))
        raise error

    def abandon(self) -> None:
        """Lets a waiter lead, because this caller has been cancelled."""
        if self._flight is not None:
            self._flight.abandon()

    def fail_in_background(self, error: BaseException) -> None:
        """Logs that the page could not be rendered again, and lets another caller lead."""
        self.abandon()
        self._log("nearcache: refreshing the page %s failed", error)

    def give_up(self) -> None:
        """Deletes the old page: its view now gives a `TemplateResponse`, which only a request can render."""
        if self._flight is not None:
            self._flight.delete_page()

    def _effect(self, render: Callable[[], Any]) -> Render:
        return Render(render, self._flight.flight if self._flight else None)

    def _has_failed(self, response: HttpResponseBase) -> bool:
        """Returns whether to hand out the old page instead of a response. Logs it if so."""
        has_failed = response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR and self._old is not None
        if has_failed:
            self._log(f"nearcache: refreshing the page %s failed: status {response.status_code}", None)
        return has_failed

    def _hand_over(self, response: HttpResponseBase) -> HttpResponseBase:
        """Leaves the flight open until `UpdateCacheMiddleware` stores the response."""
        if self._has_failed(response):
            return self._hand_out_old_page()
        vars(self.request)[_RENDERING] = self
        # Nothing here refers to the request: if it is dropped, so is this object, which ends the flight.
        del self.request
        return response

    def _defer(self, response: Any) -> None:
        """Leaves the flight open until Django renders a `TemplateResponse`, after the view's decorators."""
        response.add_post_render_callback(self.store)
        # Nothing here refers to the response: if it is dropped, so is this object, which ends the flight.
        vars(response).setdefault(_RENDERING, []).append(self)
        response.__class__ = _deferred_class(response.__class__)

    def _hand_out_old_page(self) -> HttpResponseBase:
        assert self._old is not None
        self._finish(stored=False)
        if not self.has_caller:
            return self._old.page
        return self._rules.served(self.request, self._old.page, is_stale=self._old.is_stale)

    def _refuse(self, status: int) -> None:
        """Ends the flight without a page, because the view gives a response that must not be stored.

        A stale page is deleted then. A fresh one stays: it was to be rendered early.
        """
        if self._flight is None:
            return
        if self._old is not None and not self._old.is_stale:
            self._flight.finish(stored=False)
        else:
            seconds = ERROR_SECONDS if status >= HTTPStatus.BAD_REQUEST else UNSTORED_SECONDS
            self._flight.refuse(seconds, delete=self._old is not None)

    def _log(self, message: str, error: BaseException | None) -> None:
        if self._rules.backend is not None:
            self._rules.backend._count("failed_refreshes")
        # Without the query string, which may have a token.
        _LOG.error(message, self.request.path, exc_info=error and raised_by(error))

    def _finish(self, *, stored: bool) -> None:
        if self._flight is not None:
            self._flight.finish(stored=stored)


def is_rendered(response: Any) -> bool:
    """Returns whether a response is complete, as all are but a `TemplateResponse` from a view."""
    return not callable(getattr(response, "render", None)) or getattr(response, "is_rendered", True)


def take_rendering(request: HttpRequest) -> Rendering | None:
    """Returns what `Rendering` left in a request to be stored, once."""
    rendering: Rendering | None = vars(request).pop(_RENDERING, None)
    if rendering is not None:
        rendering.request = request
    return rendering


class _Deferred:
    """Mixed into the class of a response that is still to be rendered: `Rendering` hears of an error."""

    def __init_subclass__(cls) -> None:
        """Does not call that of the response's class, which knows nothing of the subclasses made here."""

    def render(self) -> Any:
        """Renders the response. It is of its own class again before, since it can be stored then."""
        renderings: list[Rendering] = vars(self)[_RENDERING]
        # The last one is that of the outermost decorator.
        rendering = renderings.pop()
        if not renderings:
            del vars(self)[_RENDERING]
            self.__class__ = type(self).__bases__[1]
        return rendering.go_on(self.render)


@lru_cache(maxsize=256)
def _deferred_class(kind: Any) -> Any:
    """Returns a subclass of a response class that is `_Deferred`, too."""
    if issubclass(kind, _Deferred):
        return kind
    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    return type(kind)(kind.__name__, (_Deferred, kind), names)


def for_background(request: HttpRequest) -> HttpRequest:
    """Returns a copy of a request for a view that runs beside or after the response to the request."""
    copied = copy.copy(request)
    copied.META = request.META.copy()
    return copied
