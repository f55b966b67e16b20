"""`PageFlight`: the flight of a page that a caller leads, and `Place`: where it is joined."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from django.http.response import HttpResponse, HttpResponseBase

from nearcache.django.local import LocalCache
from nearcache.django.shared import SharedCache
from nearcache.django.single_flight.call import Call, Options
from nearcache.django.single_flight.effects import Complete, Finish, within

if TYPE_CHECKING:
    from nearcache import _core
    from nearcache.django.backend import Backend

# What the waiters of a flight get that has no page for them. For Django's middleware, None is no page.
STORED = "stored"
NOT_STORED = None
# For so many seconds nobody waits for a page that was not stored: the second number is for errors. It gives
# the waiters in other processes the time to see that nobody stores the page, and keeps the notes of a client
# that asks for many URLs that do not exist from filling the cache.
UNSTORED_SECONDS, ERROR_SECONDS = 10, 1


class Place(NamedTuple):
    """The key of a flight: that of a page, or one for all pages of a URL if their keys are unknown."""

    key: str
    is_page: bool

    @property
    def unstored_key(self) -> str:
        """Returns the key of the note that the page was not stored."""
        return f"{self.key}.unstored"


def page_call(cache: Backend, key: str, options: Options | None = None, timeout: float | None = None) -> Call:
    """Returns the arguments of a call of ``get_or_set`` for a page, for the effects of single flight."""
    return Call(cache, key, HttpResponse, timeout, None, options or Options())


class PageStore(NamedTuple):
    """What a page is stored with, beside its timeout: the seconds that it took to render are ``cost``."""

    cache: Backend
    options: Options
    cost: float

    def complete(self, flight: _core.Flight, key: str, page: HttpResponseBase, timeout: float) -> bool:
        """Ends a flight with a page; returns whether it is stored."""
        call = page_call(self.cache, key, self.options, timeout)
        if self.cache._overrides_storing():
            # As `get_or_set` does: the cache's own methods see every page, and may change it.
            with within(flight):
                self.cache.set(key, page, timeout)
            Finish(flight, page).act(call)
            return True
        return Complete(flight, page, self.cost).act(call)

    def store(self, key: str, page: HttpResponseBase, timeout: float) -> bool:
        """Stores a page that was not rendered in a flight for its key; returns whether it is stored."""
        _, flight, _ = self.cache._overtake(key, None)
        try:
            return self.complete(flight, key, page, timeout)
        except BaseException:
            # The traceback keeps the flight, so that dropping it would not end it.
            flight.abandon()
            raise

    def is_too_large(self, key: str, page: HttpResponseBase) -> bool:
        """Returns whether the file of a SharedCache has no room for a page.

        Finds out by storing it under another key. Processes would render it one after the other.
        """
        if not isinstance(self.cache, SharedCache):
            return False
        trial = f"{key}.trial"
        is_stored = self.cache.add(trial, page, ERROR_SECONDS)
        self.cache.delete(trial)
        return not is_stored


class PageFlight:
    """A flight that the caller leads. Each method ends it, or does nothing if it has ended."""

    def __init__(self, cache: Backend, place: Place, flight: _core.Flight) -> None:
        """Takes the flight of a place."""
        self.place = place
        self._cache = cache
        self.flight: _core.Flight | None = flight

    def complete(self, store: PageStore, page: HttpResponseBase, timeout: float) -> bool:
        """Stores a page under the key of the flight, for the waiters, too; returns whether it is stored."""
        if self.flight is None:
            return False
        # If this raises, the flight goes on, until `fail`.
        is_stored = store.complete(self.flight, self.place.key, page, timeout)
        self.flight = None
        if not is_stored and store.is_too_large(self.place.key, page):
            self._cache.set(self.place.unstored_key, True, UNSTORED_SECONDS)
        return is_stored

    def confirm(self, key: str) -> bool:
        """Ends the flight, for which a page was stored under another key; returns whether it stays there.

        If the flight is not current, the cache was cleared, or another caller leads: the page is deleted.
        """
        if self.flight is None or self._cache._overrides_storing():
            return True
        is_current = self._end_if_current(STORED)
        if not is_current:
            self._cache.delete(key)
        return is_current

    def finish(self, *, stored: bool) -> None:
        """Tells the waiters whether a page was stored."""
        flight = self._take()
        if flight is not None:
            Finish(flight, STORED if stored else NOT_STORED).act(page_call(self._cache, self.place.key))

    def refuse(self, seconds: float, *, delete: bool = False) -> None:
        """Tells the waiters that no page is stored. For some seconds, later callers do not wait.

        With ``delete``, deletes the old page, too.
        """
        if self.flight is None:
            return
        # First: the leader of the next flight is to find it.
        self._cache.set(self.place.unstored_key, True, seconds)
        if delete:
            self.delete_page()
        self.finish(stored=False)

    def delete_page(self) -> None:
        """Deletes the old page, unless another caller has written or deleted it meanwhile."""
        if self._end_if_current(NOT_STORED):
            # In a TieredCache, a stale page is beside the key.
            self._cache.delete(self.place.key)

    def fail(self, error: BaseException) -> None:
        """Lets the waiters raise an exception. Those for a URL render instead: their pages may be others."""
        if not self.place.is_page:
            self.refuse(ERROR_SECONDS)
        flight = self._take()
        if flight is not None:
            flight.fail(error)

    def abandon(self) -> None:
        """Lets one of the waiters lead."""
        flight = self._take()
        if flight is not None:
            flight.abandon()

    def _end_if_current(self, value: str | None) -> bool:
        """Hands a value to the waiters; returns whether the flight was current. If so, its key is empty then.

        What is under the key is replaced by the value, which expires at once.
        """
        flight = self._take()
        is_local = isinstance(self._cache, (LocalCache, SharedCache))
        # A TieredCache does not say whether a flight was current if the time is 0.
        call = page_call(self._cache, self.place.key, timeout=0 if is_local else 0.001)
        return flight is not None and Complete(flight, value, 0).act(call)

    def _take(self) -> _core.Flight | None:
        flight, self.flight = self.flight, None
        return flight
