"""What happens to a request for which there is no fresh page.

Each function here is a generator that yields what takes time, either a `Wait` or `RENDER` for a call of the
view, and returns the response. `run` does these steps in a thread, `arun` in a task. So the protocol exists
once.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from nearcache.django.pages import flights
from nearcache.django.pages.flights import Leader, Verdict
from nearcache.django.pages.freshness import freshness
from nearcache.django.pages.rendering import Flow, Rendering, Wait
from nearcache.django.pages.rules import PageRules, handed_out

# How often a caller waits for a page that it then does not find: once while the key of its page is unknown,
# and once for that page. After that it renders the page itself.
MOST_FLIGHTS = 2


def answer(rules: PageRules, request: HttpRequest, page: HttpResponseBase | None) -> Flow:
    """Returns the response to a request whose stored page is missing, or is due to be rendered again."""
    if rules.flights is None or (page is None and not request._cache_update_cache):  # type: ignore[attr-defined]
        return Rendering(rules, request).run()
    return _miss(rules, request) if page is None else _refresh(rules, request, page)


def _miss(rules: PageRules, request: HttpRequest) -> Flow:
    """Joins the flight for a missing page: renders it, or waits for it and looks it up."""
    deadline = time.monotonic() + rules.options.lock_timeout
    waits = 0
    while waits < MOST_FLIGHTS:
        key, is_page = rules.flight_key(request)
        flight = flights.join(rules.flights, key)
        if flight is None:
            break
        if isinstance(flight, Leader):
            return (yield from _lead(rules, request, flight, shares_errors=is_page))
        verdict = yield Wait(flight, max(0, deadline - time.monotonic()))
        if verdict is Verdict.ABANDONED:
            continue
        if verdict is not Verdict.STORED:
            break
        page = rules.find(request)
        if page is not None:
            return page
        waits += 1
    return (yield from Rendering(rules, request).run())


def _lead(rules: PageRules, request: HttpRequest, leader: Leader, *, shares_errors: bool) -> Flow:
    """Renders a page, unless the last leader stored it after this caller had missed it."""
    try:
        page = rules.find(request)
    except BaseException:
        leader.finish(Verdict.ABANDONED)
        raise
    if page is not None:
        leader.finish(Verdict.STORED)
        return page
    return (yield from Rendering(rules, request, leader, shares_errors=shares_errors).run())


def _refresh(rules: PageRules, request: HttpRequest, page: HttpResponseBase) -> Flow:
    """Renders a page again if no other caller does; returns the old one otherwise."""
    key, _ = rules.flight_key(request)
    leader = flights.join(rules.flights, key, wait=False)
    if not isinstance(leader, Leader):
        return handed_out(page)
    newer = rules.find(request)
    if newer is not None and freshness(newer) != freshness(page):
        leader.finish(Verdict.STORED)
        return newer
    request._cache_update_cache = True  # type: ignore[attr-defined]
    return (yield from Rendering(rules, request, leader, old_page=page).run())


def run(flow: Flow, render: Callable[[], HttpResponseBase]) -> HttpResponseBase:
    """Runs a flow in this thread."""
    step, error = None, None
    try:
        while True:
            step = flow.send(step) if error is None else flow.throw(error)
            try:
                step, error = step.wait() if isinstance(step, Wait) else render(), None
            except BaseException as raised:
                error = raised
    except StopIteration as stop:
        response: HttpResponseBase = stop.value
        return response


async def arun(flow: Flow, render: Callable[[], Awaitable[HttpResponseBase]]) -> HttpResponseBase:
    """Runs a flow in this task."""
    step, error = None, None
    try:
        while True:
            step = flow.send(step) if error is None else flow.throw(error)
            try:
                step, error = await (step.wait_async() if isinstance(step, Wait) else render()), None
            except BaseException as raised:
                error = raised
    except StopIteration as stop:
        response: HttpResponseBase = stop.value
        return response
