"""What happens to a request for which there is no page, as generators of effects.

See `nearcache.django.single_flight.flow`: the same rules for threads and tasks. The differences to
``get_or_set`` are that Django's middleware decides under which key a page is stored, if at all, and that a
response may be rendered and stored long after the view has returned it.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from nearcache.django.backend import Backend
from nearcache.django.pages.effects import JoinPage, UseCache
from nearcache.django.pages.page_flight import NOT_STORED, PageFlight, Place
from nearcache.django.pages.rendering import (
    ANSWERS,
    Flow,
    OldPage,
    Rendering,
    View,
    for_background,
    is_rendered,
)
from nearcache.django.pages.rules import PageRules
from nearcache.django.single_flight.call import AGAIN, LEAD, STALE, WAIT, Options, Step
from nearcache.django.single_flight.effects import Background, Wait
from nearcache.django.single_flight.flow import lock

# How often a caller joins a flight that has no page for it: once while the key of its page is unknown, and
# once for that page. After that it renders for itself.
MOST_FLIGHTS = 2


def respond(rules: PageRules, view: View, request: HttpRequest, elected: Any) -> Flow:
    """Returns the response to a request; ``elected`` is from `PageRules.find_early`."""
    backend = rules.backend
    if elected is not None and backend is not None:
        return _early(rules, view, request, backend, elected)
    if backend is None or not vars(request).get("_cache_update_cache"):
        return Rendering(rules, view, request).run()
    return _miss(rules, view, request, backend)


def _early(rules: PageRules, view: View, request: HttpRequest, backend: Backend, elected: Any) -> Flow:
    """Renders a page that is still fresh, unless another machine does."""
    key, flight, page = elected
    options = rules.options
    step = LEAD, flight, (page, False)
    kind, subject, _ = yield from _lock(rules, step, options, time.monotonic() + options.lock_timeout)
    if kind != LEAD:
        return rules.served(request, subject)
    page_flight = PageFlight(backend, Place(key, True), flight)
    return (yield from _refresh(rules, view, request, page_flight, OldPage(page, is_stale=False)))


def _miss(rules: PageRules, view: View, request: HttpRequest, backend: Backend) -> Flow:
    """Joins the flight for a page: renders it, or waits for it, or gets the old page meanwhile."""
    options = rules.options
    deadline = time.monotonic() + options.lock_timeout
    for _ in range(MOST_FLIGHTS):
        place = yield UseCache(lambda: rules.place(request, backend))
        if place is None:
            break
        step = yield from _join(backend, place, options, deadline)
        kind, subject, old = yield from _lock(rules, step, options, deadline)
        if kind == LEAD:
            flight = PageFlight(backend, place, subject)
            if old is not None:
                return (yield from _refresh(rules, view, request, flight, OldPage(old[0], is_stale=True)))
            return (yield from _lead(rules, view, request, backend, flight))
        if isinstance(subject, HttpResponseBase):
            return rules.served(request, subject, is_stale=kind == STALE)
        if subject is NOT_STORED:
            break
        page: HttpResponseBase | None = yield UseCache(lambda: rules.find(request))
        if page is not None:
            return page
    return (yield from Rendering(rules, view, request).run())


def _join(backend: Backend, place: Place, options: Options, deadline: float) -> Any:
    """Joins a flight and waits; returns a step that is neither `WAIT` nor `AGAIN`."""
    step: Step = AGAIN, None, None
    while step[0] in {WAIT, AGAIN}:
        is_waiter = step[0] == WAIT
        step = yield Wait(step[1], deadline) if is_waiter else JoinPage(backend, place.key, options)
    return step


def _lock(rules: Any, step: Step, options: Options, deadline: float) -> Any:
    """Lets one machine lead, with ``distributed``; returns a step."""
    kind, subject, old = step
    if kind != LEAD or not options.distributed:
        return step
    return (yield from lock(rules, subject, old, deadline))


def _lead(rules: PageRules, view: View, request: HttpRequest, backend: Backend, flight: PageFlight) -> Flow:
    """Renders a page, unless another process has, or has found that it is not stored."""
    place = flight.place

    def look_again() -> tuple[HttpResponseBase | None, bool]:
        page = None if place.is_page else rules.find(request)
        return page, page is None and backend.has_key(place.unstored_key)

    page: HttpResponseBase | None
    try:
        page, is_unstored = yield UseCache(look_again)
    except BaseException:
        flight.abandon()
        raise
    if page is not None or is_unstored:
        flight.finish(stored=not is_unstored)
    if page is not None:
        return page
    # In no variable: CPython 3.10 may keep this frame until it collects garbage, and a response that is
    # dropped is to end its flight at once.
    return (yield from Rendering(rules, view, request, flight).run())


def _refresh(rules: PageRules, view: View, request: HttpRequest, flight: PageFlight, old: OldPage) -> Flow:
    """Renders a page again, or has it rendered; returns the new or the old one."""
    backend = rules.backend
    assert backend is not None
    backend._count("refreshes")
    rendering = Rendering(rules, view, request, flight, old)
    if rules.options.refresh == "background" and can_be_rendered_in_background(rules, old.page):
        rendering.request, rendering.has_caller = for_background(request), False
        if (yield Background(_in_background(rendering), rendering.fail_in_background)):
            return rules.served(request, old.page, is_stale=old.is_stale)
        rendering.request, rendering.has_caller = request, True
    return (yield from rendering.run())


def _in_background(rendering: Rendering) -> Generator[Any, Any, None]:
    """Renders a page that nobody waits for."""
    try:
        response = yield from rendering.run()
    except ANSWERS:
        # There is no page any more, and the old one is deleted; the next request gets this answer.
        return
    if not is_rendered(response):
        yield UseCache(rendering.give_up)


def can_be_rendered_in_background(rules: PageRules, page: Any) -> bool:
    """Returns whether the view gave the whole page, not Django's handler after the view."""
    return not rules.stores_later and not callable(getattr(page, "render", None)) and is_rendered(page)
