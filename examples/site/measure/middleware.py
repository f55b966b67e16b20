"""Counts requests, and serves all counters as JSON at `/__stats__`.

The middleware is the outermost one, so that a request for the counters does not change them.
"""

from django.http import JsonResponse

from measure.counters import REQUESTS, counters

STATS_PATH = "/__stats__"


class MeasureMiddleware:
    """Counts requests and serves the counters."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        if request.path == STATS_PATH:
            return JsonResponse(counters.snapshot())
        counters.add(REQUESTS)
        return self.get_response(request)
