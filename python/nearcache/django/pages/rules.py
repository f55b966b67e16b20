"""`PageRules`: finds and stores pages exactly as the ``CacheMiddleware`` of the installed Django does."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.core.cache import caches
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.cache import CacheMiddleware
from django.utils.cache import get_cache_key

from nearcache.django.backend import Backend
from nearcache.django.local import LocalCache
from nearcache.django.pages.expire import expire
from nearcache.django.pages.page_access import EarlyReader, HeaderReader, OnePage, PageWriter
from nearcache.django.pages.page_flight import PageFlight, PageStore, Place
from nearcache.django.shared import SharedCache
from nearcache.django.single_flight.call import Options


class PageRules:
    """A mixin for Django's cache middleware, whose methods decide; these call them."""

    if TYPE_CHECKING:
        cache_alias: str
        key_prefix: str
        process_request: Callable[[HttpRequest], HttpResponseBase | None]
        process_response: Callable[[HttpRequest, HttpResponseBase], HttpResponseBase]

    # The options that were given; the others have the cache's defaults.
    given: Mapping[str, Any] = {}
    # Whether other middleware sees the response before it is stored.
    stores_later = False
    _access: Any = None

    @property
    def cache(self) -> Any:
        """Returns what Django's methods read and write: the cache, unless there is an access to a page."""
        return caches[self.cache_alias] if self._access is None else self._access

    @property
    def backend(self) -> Backend | None:
        """Returns the cache, or None if it is not one of nearcache's, and has no flights."""
        cache = caches[self.cache_alias]
        return cache if isinstance(cache, Backend) else None

    @property
    def options(self) -> Options:
        """Returns the options, with the defaults of the cache. Those without effect in it are 0."""
        backend = self.backend
        return Options() if backend is None else backend._options(self.given)[0]

    async def acall(self, function: Callable[..., Any], *args: Any) -> Any:
        """Calls a function that uses the cache, in a thread if the cache may wait for a server."""
        backend = self.backend
        by_methods = backend is None or backend._overrides_storing()
        if isinstance(backend, (LocalCache, SharedCache)) and not by_methods:
            return function(*args)
        # Other caches are used in the thread of the request, as by Django: a database's connection belongs to
        # it. A TieredCache needs no such thread, which a task in the background would outlive.
        return await sync_to_async(function, thread_sensitive=by_methods)(*args)

    def find(self, request: HttpRequest) -> HttpResponseBase | None:
        """Returns the stored page for a request, or None."""
        return self.process_request(request)

    def find_early(self, request: HttpRequest) -> tuple[HttpResponseBase | None, Any]:
        """Returns the stored page for a request, or None, and what `EarlyReader` elected."""
        backend = self.backend
        # A HEAD request gets the page of GET, but cannot render it.
        if backend is None or request.method == "HEAD" or not (beta := self._early(backend)):
            return self.process_request(request), None
        reader = EarlyReader(backend, beta)
        return self._with(reader).process_request(request), reader.elected

    async def afind_early(self, request: HttpRequest) -> tuple[HttpResponseBase | None, Any]:
        """Asynchronous `find_early`."""
        found: tuple[HttpResponseBase | None, Any] = await self.acall(self.find_early, request)
        return found

    def _early(self, backend: Backend) -> float:
        beta: float = self.given.get("early", backend._early)
        return 0 if beta and backend._overrides_storing() else beta

    def served(
        self, request: HttpRequest, page: HttpResponseBase, *, is_stale: bool = False
    ) -> HttpResponseBase:
        """Returns a page as Django does, for a caller that gets it.

        If it is stale, it is counted, and browsers and proxies do not keep it.
        """
        self._with(OnePage(page)).process_request(request)
        if is_stale:
            if self.backend is not None:
                self.backend._count("stale_hits")
            expire(page)
        return page

    def store(
        self, request: HttpRequest, response: HttpResponseBase, flight: PageFlight | None, cost: float
    ) -> tuple[HttpResponseBase, bool]:
        """Stores a rendered response if Django would; returns it, and whether the cache has it now."""
        backend = self.backend
        if backend is None:
            return self.process_response(request, response), False
        writer = PageWriter(PageStore(backend, self.options, cost), flight)
        return self._with(writer).process_response(request, response), writer.has_stored

    def place(self, request: HttpRequest, backend: Backend) -> Place | None:
        """Returns where a request joins a flight, or None if no page was stored there lately.

        Until a page was stored, its key is unknown: all requests of the method and URL join one flight.
        """
        headers: Any = HeaderReader(backend)
        key = get_cache_key(request, self.key_prefix, request.method or "GET", cache=headers)
        place = Place(f"{headers.key}.{request.method}.flight", False) if key is None else Place(key, True)
        return None if backend.has_key(place.unstored_key) else place

    def _with(self, access: Any) -> Any:
        """Returns a copy that reads and writes by an access to a page."""
        copied = copy.copy(self)
        copied._access = access
        return copied


class DecoratorRules(PageRules, CacheMiddleware):  # type: ignore[misc]
    """The rules for the view of a decorator, which is called with the arguments of Django's decorator."""

    def __init__(
        self,
        view: Any,
        timeout: float | None,
        cache_alias: str | None,
        key_prefix: str | None,
        given: Mapping[str, Any],
    ) -> None:
        """Takes Django's arguments as its decorator passes them on."""
        super().__init__(view, page_timeout=timeout, cache_alias=cache_alias, key_prefix=key_prefix)
        self.given = given
