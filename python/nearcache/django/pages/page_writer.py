"""`PageWriter`: the cache in which Django's middleware stores one page and its list of headers."""

from __future__ import annotations

import random
from typing import Any

from django.core.cache.backends.base import BaseCache
from django.http.response import HttpResponseBase

from nearcache.django.pages.freshness import mark
from nearcache.django.pages.options import PageOptions

# For so many seconds a list of headers outlives its page. Requests know the key of a page that has expired
# by it, so only those that want the same page wait for each other.
HEADERS_OUTLIVE_PAGE = 60


class PageWriter:
    """Passes on what Django's middleware stores, for longer, and notes what it was.

    Has those methods of a cache that ``UpdateCacheMiddleware.process_response`` and ``learn_cache_key`` call.
    """

    def __init__(self, cache: BaseCache, options: PageOptions, rendered_in: float) -> None:
        """Writes to ``cache`` a page that was rendered within a number of seconds."""
        self._cache = cache
        self._options = options
        self._rendered_in = rendered_in
        self._page_key: str | None = None

    def set(self, key: str, value: Any, timeout: float) -> None:
        """Stores a page or a list of headers."""
        if not isinstance(value, HttpResponseBase):
            self._cache.set(key, value, timeout + self._options.stale + HEADERS_OUTLIVE_PAGE)
            return
        if self._options.jitter:
            timeout *= 1 - self._options.jitter * random.random()
        if self._options.marks_pages:
            mark(value, timeout, self._rendered_in)
        self._cache.set(key, value, timeout + self._options.stale)
        self._page_key = key

    def has_stored(self) -> bool:
        """Returns whether a page was stored and is in the cache, which rejects pages that are too large."""
        return self._page_key is not None and self._cache.has_key(self._page_key)
