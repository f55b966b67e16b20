"""What Django's middleware reads pages from and stores them in, in place of a cache.

Django's functions call ``get`` for the list of headers that a page varies by, and then for pages; and ``set``
for the list of headers, and then for the page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.http.response import HttpResponseBase

from nearcache.django.pages.page_flight import PageFlight, PageStore

if TYPE_CHECKING:
    from nearcache import _core
    from nearcache.django.backend import Backend

# For so many seconds a list of headers outlives its page. Requests know the key of a page that has expired
# by it, so only those that want the same page wait for each other.
HEADERS_OUTLIVE_PAGE = 60


class HeaderReader:
    """Reads a list of headers, and notes its key."""

    def __init__(self, cache: Backend) -> None:
        """Reads from a cache."""
        self._cache = cache
        self.key = ""

    def get(self, key: str) -> Any:
        """Returns the list."""
        self.key = key
        return self._cache.get(key)


class EarlyReader:
    """Reads pages with a chance to be elected to render them early; notes the flight."""

    def __init__(self, cache: Backend, beta: float) -> None:
        """Reads from a cache; ``beta`` is XFetch's."""
        self._cache = cache
        self._beta = beta
        self._has_headers = False
        self.elected: tuple[str, _core.Flight, HttpResponseBase] | None = None

    def get(self, key: str) -> Any:
        """Returns the list of headers, then pages."""
        if not self._has_headers:
            self._has_headers = True
            return self._cache.get(key)
        step = self._cache._get_early(key, None, self._beta)
        if step is None:
            return None
        _, subject, old = step
        if old is None:
            return subject
        # A leader's step.
        self.elected = key, subject, old[0]
        return old[0]


class OnePage:
    """Has one page, under any key."""

    def __init__(self, page: HttpResponseBase) -> None:
        """Has this page."""
        self._page = page
        self._has_headers = False

    def get(self, key: str) -> Any:
        """Returns an empty list of headers, then the page."""
        if not self._has_headers:
            self._has_headers = True
            return []
        return self._page


class PageWriter:
    """Stores a page with the options of single flight, and its list of headers for longer.

    The first page of a URL is stored before the list. Otherwise a request that finds the list but no page yet
    would lead a flight for the page, although the one for the URL goes on.
    """

    def __init__(self, store: PageStore, flight: PageFlight | None) -> None:
        """Completes the flight if it is that of the page."""
        self._store = store
        self._flight = flight
        self._headers: tuple[str, Any, float] | None = None
        self.has_stored = False

    def set(self, key: str, value: Any, timeout: float) -> None:
        """Takes the list of headers, then stores the page and the list."""
        if not isinstance(value, HttpResponseBase):
            self._headers = key, value, self._timeout_of_headers(float(timeout))
        elif self._flight is not None and self._flight.place == (key, True):
            self._store_headers()
            self.has_stored = self._flight.complete(self._store, value, timeout)
        else:
            try:
                self.has_stored = self._store.store(key, value, timeout)
            finally:
                self._store_headers()
            if self._flight is not None and self.has_stored:
                self.has_stored = self._flight.confirm(key)

    def _store_headers(self) -> None:
        if self._headers is not None:
            self._store.cache.set(*self._headers)
            self._headers = None

    def _timeout_of_headers(self, timeout: float) -> float:
        if timeout < 0:
            return timeout  # Django deletes both.
        longer = timeout + float(self._store.options.stale) + HEADERS_OUTLIVE_PAGE
        # The cache shortens it by up to this fraction.
        return longer / (1 - self._store.cache._jitter)
