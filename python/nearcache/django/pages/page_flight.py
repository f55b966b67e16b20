"""`PageFlight`: the flight of a page that a caller leads, and `Place`: where it is joined."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from django.http.response import HttpResponseBase

from nearcache.django.single_flight.call import CURRENT, Options

if TYPE_CHECKING:
    from nearcache import _core
    from nearcache.django.backend import Backend

# What the waiters of a flight get that has no page for them.
STORED = "stored"
NOT_STORED = "not stored"
# For so many seconds nobody waits for a page that was not stored.
REMEMBERED_SECONDS = 10


class Place(NamedTuple):
    """The key of a flight: that of a page, or one for all pages of a URL if their keys are unknown."""

    key: str
    is_page: bool

    @property
    def unstored_key(self) -> str:
        """Returns the key of the note that the page was not stored."""
        return f"{self.key}.unstored"


class PageFlight:
    """A flight that the caller leads. Each method ends it, or does nothing if it has ended."""

    def __init__(self, cache: Backend, place: Place, flight: _core.Flight) -> None:
        """Takes the flight of a place."""
        self.place = place
        self._cache = cache
        self._flight: _core.Flight | None = flight

    def complete(self, page: HttpResponseBase, timeout: float, options: Options, cost: float) -> bool:
        """Stores a page under the key of the flight and hands it to the waiters; returns whether it is stored."""
        flight = self._take()
        return flight is not None and complete(self._cache, flight, page, timeout, options, cost)

    def finish(self, *, stored: bool, remember: bool = False) -> None:
        """Tells the waiters whether a page was stored. With ``remember``, later callers do not wait."""
        flight = self._take()
        if flight is None:
            return
        if remember:
            self._cache.set(self.place.unstored_key, True, REMEMBERED_SECONDS)
        self._cache._finish(flight, STORED if stored else NOT_STORED)

    def fail(self, error: Exception) -> None:
        """Lets the waiters raise an exception. Those for a URL render instead: their pages may be others."""
        if not self.place.is_page:
            self.finish(stored=False)
        flight = self._take()
        if flight is not None:
            flight.fail(error)

    def abandon(self) -> None:
        """Lets one of the waiters lead."""
        flight = self._take()
        if flight is not None:
            flight.abandon()

    def _take(self) -> _core.Flight | None:
        flight, self._flight = self._flight, None
        return flight


def complete(  # noqa: PLR0917 (what a page is stored with)
    cache: Backend, flight: Any, page: HttpResponseBase, timeout: float, options: Options, cost: float
) -> bool:
    """Ends a flight with a page; returns whether it is stored."""
    return cache._complete(flight, page, timeout, options.jitter, options.stale, cost)


def store(cache: Backend, key: str, page: HttpResponseBase, timeout: float, options: Options, cost: float) -> bool:  # noqa: PLR0917
    """Stores a page that was rendered outside of a flight for its key; returns whether it is stored."""
    _, flight, _ = cache._overtake(key, None, CURRENT.get())
    return complete(cache, flight, page, timeout, options, cost)
