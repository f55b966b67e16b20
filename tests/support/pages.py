"""A view that counts its calls, and requests for its page, one after the other and at once."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from django.http import HttpResponse
from django.template import engines
from django.template.response import TemplateResponse
from django.test import RequestFactory

from support.manual_clock import CLOCK

CALLERS = 12
# For what happens at once; a test that waits longer fails.
SECONDS = 20

requests = RequestFactory()


class Site:
    """A view that counts its calls. `respond` makes the response from the request and the call's number."""

    def __init__(self, respond=None, *, wait=0.2):
        self.calls = 0
        self._lock = threading.Lock()
        self._respond = respond or (lambda request, number: HttpResponse(f"page {number}"))
        self._wait = wait

    def __call__(self, request):
        with self._lock:
            self.calls += 1
            number = self.calls
        time.sleep(self._wait)
        return self._respond(request, number)

    async def asynchronous(self, request):
        self.calls += 1
        number = self.calls
        await asyncio.sleep(self._wait)
        return self._respond(request, number)


def at_once(view, made):
    """Call a view with several requests, each in a thread; return the responses or exceptions."""
    begin = threading.Barrier(len(made))

    def call(request):
        begin.wait(SECONDS)
        try:
            response = view(request)
            return response.render() if hasattr(response, "render") else response
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(made)) as pool:
        return list(pool.map(call, made))


def several(path="/", **headers):
    return [requests.get(path, headers=headers) for _ in range(CALLERS)]


def contents(responses):
    return {response.content.decode() for response in responses}


@contextmanager
def later(monkeypatch, seconds):
    """Let some seconds pass."""
    CLOCK.advance(seconds)
    now = time.time
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: now() + seconds)
        yield


def failing(error):
    def respond(request, number):
        raise error

    return respond


def template_view(site):
    template = engines["django"].from_string("{{ page.content.decode }}{{ added }}")
    return lambda request: TemplateResponse(request, template, {"page": site(request)})


def run_at_once(view, made):
    async def call(request):
        response = await view(request)
        return response.render() if hasattr(response, "render") else response

    async def everything():
        return await asyncio.gather(*map(call, made), return_exceptions=True)

    return asyncio.run(everything())
