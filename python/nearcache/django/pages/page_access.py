"""What Django's middleware reads pages from and stores them in, in place of a cache.

Django's functions call ``get`` for the list of headers that a page varies by, and then for pages; and ``set`` for
the list of headers, and then for the page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.http.response import HttpResponseBase

from nearcache.django.pages.page_flight import PageFlight, store
from nearcache.django.single_flight.call import LEAD, Options

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
        if step is None or step[0] != LEAD:
            return None if step is None else step[1]
        page = step[2][0]
        self.elected = key, step[1], page
        return page


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
    """Stores a page with the options of single flight, and its list of headers for longer."""

    def __init__(self, cache: Backend, options: Options, flight: PageFlight | None, cost: float) -> None:
        """Writes a page that took ``cost`` seconds, and completes the flight if it is that of this page."""
        self._cache = cache
        self._options = options
        self._flight = flight
        self._cost = cost
        self.has_stored = False

    def set(self, key: str, value: Any, timeout: float) -> None:
        """Stores the list of headers, then the page."""
        if not isinstance(value, HttpResponseBase):
            self._cache.set(key, value, timeout + self._options.stale + HEADERS_OUTLIVE_PAGE)
        elif self._flight is not None and self._flight.place == (key, True):
            self.has_stored = self._flight.complete(value, timeout, self._options, self._cost)
        else:
            self.has_stored = store(self._cache, key, value, timeout, self._options, self._cost)
