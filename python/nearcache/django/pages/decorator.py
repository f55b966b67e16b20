"""`cache_page`: stores the responses of a view, which is called once for all that want a page."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Literal, TypeVar, cast

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from nearcache.django.get_or_set_options import check_options
from nearcache.django.pages.flow import respond
from nearcache.django.pages.rules import DecoratorRules
from nearcache.django.single_flight.run import arun, run

_View = TypeVar("_View", bound=Callable[..., Any])


def cache_page(
    timeout: float | None,
    *,
    cache: str | None = None,
    key_prefix: str | None = None,
    stale: float | None = None,
    refresh: Literal["caller", "background"] | None = None,
    early: float | None = None,
    jitter: float | None = None,
    lock_timeout: float | None = None,
    distributed: bool | None = None,
) -> Callable[[_View], _View]:
    """Returns a decorator for views, like Django's ``cache_page``, with single flight and stale pages.

    - ``timeout``: seconds for which a page is fresh; None: the ``max-age`` of the response, or
      ``CACHE_MIDDLEWARE_SECONDS``.
    - ``cache``: the alias of the cache in ``CACHES``.
    - ``key_prefix``: a part of the key, in addition to the ``KEY_PREFIX`` of the cache.
    - The others are those of ``get_or_set``. None, the default, means the value that the cache has for it in
      ``OPTIONS["GET_OR_SET"]``.

    Raises `TypeError` or `ValueError` if an option is not accepted.
    """
    options = {
        "stale": stale,
        "refresh": refresh,
        "early": early,
        "jitter": jitter,
        "lock_timeout": lock_timeout,
        "distributed": distributed,
    }
    given = check_options(options)

    def decorate(view: Any) -> Any:
        rules = DecoratorRules(view, timeout, cache, key_prefix, given)

        def view_wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            page, elected = rules.find_early(request)
            if page is not None and elected is None:
                return page
            flow = respond(rules, call_with(args, kwargs), request, elected)
            return cast("HttpResponseBase", run(rules, flow))

        async def async_view_wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            page, elected = await rules.afind_early(request)
            if page is not None and elected is None:
                return page
            flow = respond(rules, call_with(args, kwargs), request, elected)
            return cast("HttpResponseBase", await arun(rules, flow))

        def call_with(args: Any, kwargs: Any) -> Callable[[HttpRequest], Any]:
            return lambda request: view(request, *args, **kwargs)

        return wraps(view)(async_view_wrapper if iscoroutinefunction(view) else view_wrapper)

    return decorate
