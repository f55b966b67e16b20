"""`PageRules`: finds and stores pages exactly as the ``CacheMiddleware`` of the installed Django does."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.cache import CacheMiddleware
from django.utils.cache import get_cache_key, patch_cache_control

from nearcache.django.backend import Backend
from nearcache.django.pages.freshness import freshness
from nearcache.django.pages.options import PageOptions
from nearcache.django.pages.page_writer import PageWriter


class PageRules:
    """A mixin for Django's cache middleware, whose methods decide; these call them."""

    if TYPE_CHECKING:
        cache_alias: str
        key_prefix: str
        process_request: Callable[[HttpRequest], HttpResponseBase | None]
        process_response: Callable[[HttpRequest, HttpResponseBase], HttpResponseBase]

    options = PageOptions()
    # Whether other middleware sees the response before it is stored.
    stores_later = False
    _writer: PageWriter | None = None

    @property
    def cache(self) -> Any:
        """Returns what Django's methods read and write: the cache, or while they store, a `PageWriter`."""
        return caches[self.cache_alias] if self._writer is None else self._writer

    @property
    def flights(self) -> Backend | None:
        """Returns the cache if it has flights; None for those that are not nearcache's."""
        cache = caches[self.cache_alias]
        return cache if isinstance(cache, Backend) else None

    def find(self, request: HttpRequest) -> HttpResponseBase | None:
        """Returns the stored page for a request, fresh or stale, or None."""
        return self.process_request(request)

    def store(
        self, request: HttpRequest, response: HttpResponseBase, rendered_in: float
    ) -> tuple[HttpResponseBase, bool]:
        """Stores a rendered response if Django would; returns it, and whether the cache has it now."""
        if self.flights is None:
            return self.process_response(request, response), False
        storing = copy.copy(self)
        storing._writer = PageWriter(caches[self.cache_alias], self.options, rendered_in)
        response = storing.process_response(request, response)
        return response, storing._writer.has_stored()

    def flight_key(self, request: HttpRequest) -> tuple[str, bool]:
        """Returns the key of the flight that a request joins, and whether it is that of a page.

        Until a page was stored, its key is unknown: all requests of the method and URL join one flight.
        """
        headers = _HeaderList(caches[self.cache_alias])
        key = get_cache_key(request, self.key_prefix, request.method, cache=headers)
        return f"{key or headers.key}.{request.method}.flight", key is not None

    def forget(self, request: HttpRequest) -> None:
        """Deletes the stored page for a request."""
        cache = caches[self.cache_alias]
        for method in {"GET", request.method}:
            key = get_cache_key(request, self.key_prefix, method, cache=cache)
            if key is not None:
                cache.delete(key)


class _HeaderList:
    """Reads a list of headers for ``get_cache_key``, and keeps the key of the list."""

    def __init__(self, cache: BaseCache) -> None:
        self._cache = cache
        self.key = ""

    def get(self, key: str) -> Any:
        self.key = key
        return self._cache.get(key)


class DecoratorRules(PageRules, CacheMiddleware):  # type: ignore[misc]
    """The rules for the view of a decorator, which is called with the arguments of Django's decorator."""

    def __init__(
        self,
        view: Any,
        options: PageOptions,
        timeout: float | None,
        cache_alias: str | None,
        key_prefix: str | None,
    ) -> None:
        """Takes Django's arguments as its decorator passes them on."""
        super().__init__(view, page_timeout=timeout, cache_alias=cache_alias, key_prefix=key_prefix)
        self.options = options


def handed_out(page: HttpResponseBase) -> HttpResponseBase:
    """Returns a stored page, with headers that stop browsers from keeping it if it is stale."""
    fresh = freshness(page)
    if fresh is not None and fresh.is_over():
        patch_cache_control(page, max_age=0)
    return page
