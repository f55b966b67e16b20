"""Single flight before another cache: one caller of a machine computes.

The flights are in a small file, or in this process where there are no such files, and for a while after the
file failed. The value is stored by the methods of the remote cache, whose own ``get_or_set`` is not called.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from nearcache import _core
from nearcache.django.backend import Backend
from nearcache.django.local import LocalCache
from nearcache.django.remote_alias.base import AliasBase
from nearcache.django.remote_alias.near import MISSING, StoredKeys, near_key
from nearcache.django.shared import SharedCache
from nearcache.django.single_flight.call import HIT, LEAD, Step

_LOG = logging.getLogger("nearcache")
# A flight takes less than a hundred bytes and its key.
_SIZE = "2MB"
# By the name of the file.
_OPENED: dict[str, Backend] = {}
# Seconds for which a file that failed is not used: each attempt may wait for a lock.
_PAUSE_AFTER_FAILURE = 10
# By the name of the file: until when it is not used, on the monotonic clock.
_NEXT_USES: dict[str, float] = {}


class _MachineFlights(StoredKeys, SharedCache):
    """The flights of this machine. It has no values."""


class _ProcessFlights(StoredKeys, LocalCache):
    """The flights of this process. It has no values."""


class Flights(AliasBase):
    """Defines the steps of ``get_or_set``."""

    def _join(self, key: Any, version: Any, stale: float, within: _core.Flight | None) -> Step:
        kind, subject, old = self._start_flight(key, version, within)
        if kind != LEAD:
            return kind, subject, old
        try:
            # Another caller may have stored the value since it was missed.
            value = self.get(key, MISSING, version)
        except BaseException:
            subject.abandon()
            raise
        return self._found(subject, value)

    async def _ajoin(self, key: Any, version: Any, stale: float, within: _core.Flight | None) -> Step:
        kind, subject, old = self._start_flight(key, version, within)
        if kind != LEAD:
            return kind, subject, old
        try:
            value = await self.aget(key, MISSING, version)
        except BaseException:
            subject.abandon()
            raise
        return self._found(subject, value)

    def _start_flight(self, key: Any, version: Any, within: _core.Flight | None) -> Step:
        stored = near_key(self._remote, key, version)
        return self._start(lambda flights: flights._join(stored, None, 0, within))

    def _found(self, flight: _core.Flight, value: Any) -> Step:
        if value is MISSING:
            return LEAD, flight, None
        self._flights._finish(flight, value)
        return HIT, value, None

    def _overtake(self, key: Any, version: Any) -> Step:
        stored = near_key(self._remote, key, version)
        return self._start(lambda flights: flights._overtake(stored, None))

    def _start(self, work: Callable[[Backend], Step]) -> Step:
        """Starts or joins a flight: of the machine, or of this process if the file fails."""
        location = self._flights_location
        if time.monotonic() >= _NEXT_USES.get(location, 0.0):
            try:
                return work(self._flights)
            except OSError as error:
                # A process was stopped while it held a lock of the file, or too many processes use it.
                is_first = location not in _NEXT_USES
                _NEXT_USES[location] = time.monotonic() + _PAUSE_AFTER_FAILURE
                if is_first:
                    _warn("failed; it is tried again every ten seconds", error)
        return work(_process_flights(location))

    def _outcome(self, wait: _core.FlightWait) -> Step | None:
        return self._flights._outcome(wait)

    def _outcome_or_wake(self, wait: _core.FlightWait, event_loop: Any, wake: Any) -> Step | None:
        return self._flights._outcome_or_wake(wait, event_loop, wake)

    def _lead(self, wait: _core.FlightWait, overtakes: bool) -> Step:
        step: Step = self._flights._lead(wait, overtakes)
        return step

    def _finish(self, flight: _core.Flight, value: Any) -> None:
        self._flights._finish(flight, value)

    async def _alock_flight(self, flight: _core.Flight, token: str, seconds: float, overtakes: bool) -> Step:
        return LEAD, None, None

    @property
    def _flights(self) -> Backend:
        """The cache that has the flights, opened at the first miss."""
        opened = _OPENED.get(self._flights_location)
        if opened is None:
            opened = _OPENED.setdefault(self._flights_location, _open(self._flights_location))
        return opened


def _open(location: str) -> Backend:
    if hasattr(_core, "inspect_file"):
        try:
            return _MachineFlights(location, {"OPTIONS": {"MAX_MEMORY": _SIZE}})
        except ImproperlyConfigured as error:
            _warn("cannot be opened", error)
    return _process_flights(location)


def _process_flights(location: str) -> _ProcessFlights:
    return _ProcessFlights(f"nearcache {location}", {})


def _warn(what: str, error: Exception) -> None:
    _LOG.warning(
        "nearcache: get_or_set computes once in each process, not once on this machine, because the file of "
        "flights %s: %s",
        what,
        str(error).removeprefix("nearcache: "),
    )
