"""Flights of pages (a stand-in within one process)."""

from __future__ import annotations

import asyncio
import enum
import threading
from typing import Any

from nearcache.django.backend import Backend

REMEMBERED_FOR = 10


class Verdict(enum.Enum):
    STORED = "stored"
    NOT_STORED = "not stored"
    ABANDONED = "abandoned"
    TIMED_OUT = "timed out"


_LOCK = threading.Lock()
_FLIGHTS: dict[Any, _Flight] = {}


class _Flight:
    def __init__(self, key):
        self.key = key
        self.done = threading.Event()
        self.verdict = None
        self.error = None
        self.listeners = []

    def end(self, verdict, error=None):
        with _LOCK:
            if self.done.is_set():
                return
            if _FLIGHTS.get(self.key) is self:
                del _FLIGHTS[self.key]
            self.verdict, self.error = verdict, error
            self.done.set()
        for loop, event in self.listeners:
            loop.call_soon_threadsafe(event.set)


class Leader:
    def __init__(self, cache, key, flight):
        self._cache, self._key, self._flight = cache, key, flight

    def finish(self, verdict, remember=False):
        if self._flight is None:
            return
        if remember:
            self._cache.set(self._key, "not stored", REMEMBERED_FOR)
        self._flight.end(verdict)

    def fail(self, error):
        if self._flight is not None:
            self._flight.end(None, error)


class Waiter:
    def __init__(self, flight):
        self._flight = flight

    def _result(self):
        if self._flight.error is not None:
            raise self._flight.error
        return self._flight.verdict

    def wait(self, timeout):
        return self._result() if self._flight.done.wait(timeout) else Verdict.TIMED_OUT

    async def await_(self, timeout):
        event = asyncio.Event()
        with _LOCK:
            if not self._flight.done.is_set():
                self._flight.listeners.append((asyncio.get_running_loop(), event))
            else:
                event.set()
        try:
            await asyncio.wait_for(event.wait(), timeout)
        except asyncio.TimeoutError:
            return Verdict.TIMED_OUT
        return self._result()


def join(cache: Backend, key: str, wait: bool = True):
    if cache.get(key) is not None and wait:
        return None
    full = (type(cache), cache.make_key(key), id(cache._store) if hasattr(cache, "_store") else None)
    with _LOCK:
        flight = _FLIGHTS.get(full)
        if flight is None:
            flight = _FLIGHTS[full] = _Flight(full)
            return Leader(cache, key, flight)
    return Waiter(flight)
