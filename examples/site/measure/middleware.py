"""Counts requests, and answers `/__stats__` with all counters as JSON.

It is the outermost middleware: asking for the counters changes none of them.
"""

from django.http import JsonResponse

from measure.counters import REQUESTS, counters

STATS_PATH = "/__stats__"


class MeasureMiddleware:
    """The outermost middleware."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        if request.path == STATS_PATH:
            return JsonResponse(counters.snapshot())
        counters.add(REQUESTS)
        return self.get_response(request)
