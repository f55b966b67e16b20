"""Single flight before another cache: one caller of a machine computes.

The flights are in a small file, or in this process where there are no such files. The value is stored by the
methods of the remote cache, whose own ``get_or_set`` is not called.
"""

from __future__ import annotations

import logging
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
        step: Step = self._flights._join(near_key(self._remote, key, version), None, 0, within)
        return step

    def _found(self, flight: _core.Flight, value: Any) -> Step:
        if value is MISSING:
            return LEAD, flight, None
        self._flights._finish(flight, value)
        return HIT, value, None

    def _overtake(self, key: Any, version: Any) -> Step:
        step: Step = self._flights._overtake(near_key(self._remote, key, version), None)
        return step

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
            _LOG.warning(
                "nearcache: the file of flights cannot be opened: %s get_or_set computes once in each "
                "process instead of once on this machine",
                error,
            )
    return _ProcessFlights(f"nearcache {location}", {})
