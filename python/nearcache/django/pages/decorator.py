"""`cache_page`: stores the responses of a view, which is called once for all that want a page."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, TypeVar

from asgiref.sync import iscoroutinefunction
from django.http.response import HttpResponseBase

from nearcache.django.pages.flow import answer, arun, run
from nearcache.django.pages.freshness import is_due
from nearcache.django.pages.options import PageOptions
from nearcache.django.pages.rules import DecoratorRules

_View = TypeVar("_View", bound=Callable[..., Any])


def cache_page(
    timeout: float | None,
    *,
    cache: str | None = None,
    key_prefix: str | None = None,
    **options: Any,
) -> Callable[[_View], _View]:
    """Returns a decorator for views, like Django's ``cache_page``, with single flight and stale pages."""
    checked = PageOptions(**options)

    def decorate(view: Any) -> Any:
        rules = DecoratorRules(view, checked, timeout, cache, key_prefix)

        def view_wrapper(request: Any, *args: Any, **kwargs: Any) -> HttpResponseBase:
            page = rules.find(request)
            if page is not None and not is_due(page, checked.early):
                return page
            return run(answer(rules, request, page), partial(view, request, *args, **kwargs))

        async def async_view_wrapper(request: Any, *args: Any, **kwargs: Any) -> HttpResponseBase:
            page = rules.find(request)
            if page is not None and not is_due(page, checked.early):
                return page
            return await arun(answer(rules, request, page), partial(view, request, *args, **kwargs))

        return wraps(view)(async_view_wrapper if iscoroutinefunction(view) else view_wrapper)

    return decorate
