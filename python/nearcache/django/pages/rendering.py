"""`Rendering`: calls a view once, stores its response, and ends the flight that waits for it."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Generator
from functools import lru_cache
from typing import Any

from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.http import Http404, HttpRequest
from django.http.multipartparser import MultiPartParserError
from django.http.response import HttpResponseBase

from nearcache.django.pages.flights import Leader, Verdict, Waiter
from nearcache.django.pages.rules import PageRules, handed_out

logger = logging.getLogger("nearcache")

# The exceptions that Django turns into responses with a status of 400 to 404. They are answers to one
# request, for which another one may get a page.
ANSWERS = (BadRequest, Http404, MultiPartParserError, PermissionDenied, SuspiciousOperation)
SERVER_ERROR = 500
# The attribute of a response that is still to be rendered, or of a request whose response is still to be
# stored.
_RENDERING = "_nearcache_rendering"


class Render:
    """A step of a flow: call the view."""


class Wait:
    """A step of a flow: wait for a flight."""

    def __init__(self, waiter: Waiter, timeout: float) -> None:
        """Waits a number of seconds at most."""
        self._waiter = waiter
        self._timeout = timeout

    def wait(self) -> Verdict:
        """Waits in this thread; raises the leader's error if it is shared."""
        return self._waiter.wait(self._timeout)

    async def wait_async(self) -> Verdict:
        """Waits in this task."""
        return await self._waiter.await_(self._timeout)


RENDER = Render()
Flow = Generator["Render | Wait", Any, HttpResponseBase]


class Rendering:
    """One call of a view by a leader, or without a flight if ``leader`` is None."""

    def __init__(
        self,
        rules: PageRules,
        request: HttpRequest,
        leader: Leader | None = None,
        *,
        shares_errors: bool = False,
        old_page: HttpResponseBase | None = None,
    ) -> None:
        """Takes the page to hand out if the view fails as ``old_page``."""
        self._rules = rules
        self._request = request
        self._leader = leader
        self._shares_errors = shares_errors
        self._old_page = old_page
        self._begin = time.monotonic()

    def __del__(self) -> None:
        """Ends the flight of a response that was dropped before it was rendered."""
        self.end(Verdict.NOT_STORED)

    def run(self) -> Flow:
        """Calls the view; returns its response, or the old page if it failed."""
        try:
            response = yield RENDER
            if self._rules.stores_later:
                return self._hand_over(response)
            if is_rendered(response):
                return self.store(response)
            self._defer(response)
            return response
        except Exception as error:
            return self.fail(error)
        except BaseException:
            # Cancelled: the next waiter leads.
            self.end(Verdict.ABANDONED)
            raise

    def store(self, response: HttpResponseBase, rules: PageRules | None = None) -> HttpResponseBase:
        """Stores a rendered response if Django would; returns it, or the old page if it is an error."""
        if self._has_failed(response):
            return self._hand_out_old_page()
        rules = self._rules if rules is None else rules
        response, stored = rules.store(self._request, response, time.monotonic() - self._begin)
        is_error = response.status_code >= SERVER_ERROR
        if not stored and not is_error:
            self._forget_old_page()
        self.end(Verdict.STORED if stored else Verdict.NOT_STORED, remember=not stored and not is_error)
        return response

    def _has_failed(self, response: HttpResponseBase) -> bool:
        """Returns whether to hand out the old page instead of a response. Logs it if so."""
        if response.status_code < SERVER_ERROR or self._old_page is None:
            return False
        logger.error("Refreshing the page %s failed: status %s", self._url, response.status_code)
        return True

    def _hand_over(self, response: HttpResponseBase) -> HttpResponseBase:
        """Leaves the flight open until `UpdateCacheMiddleware` stores the response."""
        if self._has_failed(response):
            return self._hand_out_old_page()
        vars(self._request)[_RENDERING] = self
        return response

    def _defer(self, response: Any) -> None:
        """Leaves the flight open until Django renders a `TemplateResponse`, after the view's decorators."""
        response.add_post_render_callback(self.store)
        # Nothing here refers to the response: if it is dropped, so is this object, which ends the flight.
        vars(response)[_RENDERING] = self
        response.__class__ = _deferred_class(type(response))

    def fail(self, error: Exception) -> HttpResponseBase:
        """Returns the old page if there is one; otherwise raises the error of the view."""
        if isinstance(error, ANSWERS):
            self._forget_old_page()
            self.end(Verdict.NOT_STORED, remember=True)
            raise error
        if self._old_page is not None:
            logger.error("Refreshing the page %s failed", self._url, exc_info=error)
            return self._hand_out_old_page()
        if self._shares_errors and self._leader is not None:
            self._leader.fail(error)
        self.end(Verdict.NOT_STORED)
        raise error

    def _hand_out_old_page(self) -> HttpResponseBase:
        self.end(Verdict.NOT_STORED)
        assert self._old_page is not None
        self._request._cache_update_cache = False  # type: ignore[attr-defined]
        return handed_out(self._old_page)

    def _forget_old_page(self) -> None:
        """Deletes the old page if the view now gives a response that must not be stored."""
        if self._old_page is not None:
            self._rules.forget(self._request)

    def end(self, verdict: Verdict, *, remember: bool = False) -> None:
        """Ends the flight unless it has ended."""
        leader, self._leader = self._leader, None
        if leader is not None:
            leader.finish(verdict, remember)

    @property
    def _url(self) -> str:
        return self._request.get_full_path()


def is_rendered(response: Any) -> bool:
    """Returns whether a response is complete, as all are but a `TemplateResponse` from a view."""
    return not callable(getattr(response, "render", None)) or getattr(response, "is_rendered", True)


def take_rendering(request: HttpRequest) -> Rendering | None:
    """Returns what `Rendering` left in a request to be stored, once."""
    rendering: Rendering | None = vars(request).pop(_RENDERING, None)
    return rendering


@lru_cache(maxsize=256)
def _deferred_class(kind: Any) -> Any:
    """Returns a subclass of a response class whose ``render`` tells the `Rendering` of an error."""

    def render(self: Any) -> Any:
        """Renders the response, which is then of its own class again, and can be stored."""
        rendering: Rendering = vars(self).pop(_RENDERING)
        self.__class__ = kind
        try:
            return self.render()
        except Exception as error:
            return rendering.fail(error)

    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    return type(kind.__name__, (kind,), {"render": render, **names})


def with_copied_request(request: HttpRequest) -> HttpRequest:
    """Returns a copy of a request for a view that runs after the response to the request."""
    copied = copy.copy(request)
    copied.META = request.META.copy()
    return copied
