"""``get_or_set_many``: one computation for all keys that are missing, with a flight for each of them."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nearcache import _core
from nearcache.django.single_flight.call import AGAIN, HIT, LEAD, STALE, WAIT, Call, Old, Options, Step
from nearcache.django.single_flight.effects import (
    Background,
    Compute,
    Effect,
    Join,
    Lock,
    Wait,
)
from nearcache.django.single_flight.flow import Flow, fail_in_background, hand_out, keep_old, lock, store
from nearcache.django.single_flight.run import arun, raised_by, run

if TYPE_CHECKING:
    from nearcache.django.backend import Backend

# A key's flight, and the old value of the key, if there is one.
_Flights = dict[Any, tuple[_core.Flight, "Old | None"]]


@dataclass(slots=True, eq=False)
class ManyCall:
    """The arguments of a call of ``get_or_set_many``; each key is there once."""

    cache: Backend
    keys: list[Any]
    default_many: Callable[[list[Any]], Any]
    timeout: Any
    version: Any
    options: Options
    by_methods: bool = False

    def __post_init__(self) -> None:
        """Raises `TypeError` if ``default_many`` is no function."""
        if not callable(self.default_many):
            raise TypeError(
                f"default_many is {self.default_many!r} ({type(self.default_many).__name__}); expected a "
                "function that takes a list of keys and returns a mapping with their values"
            )

    def single(self, key: Any) -> Call:
        """Returns the call for one of the keys."""
        default = functools.partial(self.default_many, [key])
        return Call(self.cache, key, default, self.timeout, self.version, self.options, self.by_methods)


@dataclass(slots=True, eq=False)
class _ForKey:
    """An effect for one of the keys."""

    key: Any
    effect: Effect

    def act(self, call: ManyCall) -> Any:
        return self.effect.act(call.single(self.key))

    async def aact(self, call: ManyCall) -> Any:
        return await self.effect.aact(call.single(self.key))


@dataclass(slots=True, eq=False)
class _Run:
    """Runs a flow; the result is its value."""

    flow: Flow

    def act(self, call: Call) -> Any:
        return run(call, self.flow)

    async def aact(self, call: Call) -> Any:
        return await arun(call, self.flow)


def get_or_compute_many(call: ManyCall, found: dict[Any, Any]) -> Flow:
    """Adds the values of the keys that were missed to those that were found; returns all, in the keys' order.

    Computes what nobody else does before it waits for the others, so that two such calls never wait for each
    other.
    """
    waits: dict[Any, _core.FlightWait] = {}
    flights: _Flights = {}
    elsewhere: _Flights = {}
    try:
        for key in call.keys:
            if key not in found:
                step = yield _ForKey(key, Join())
                _sort(call, key, step, found, flights, waits)
        if call.options.distributed:
            yield from _lock_many(call, flights, elsewhere, found)
        yield from _lead_many(call, flights, found)
        deadline = time.monotonic() + call.options.lock_timeout
        while elsewhere:
            yield from _lock_next(call, flights, elsewhere, found, deadline)
            yield from _lead_many(call, flights, found)
        while waits:
            key, wait = waits.popitem()
            step = yield _ForKey(key, Wait(wait, deadline))
            while step[0] == AGAIN:
                step = yield _ForKey(key, Join())
            _sort(call, key, step, found, flights, waits)
            if call.options.distributed:
                elsewhere.update(flights)
                flights.clear()
                while elsewhere:
                    yield from _lock_next(call, flights, elsewhere, found, deadline)
            yield from _lead_many(call, flights, found)
    finally:
        for wait in waits.values():
            wait.close()
        for flight, _ in [*flights.values(), *elsewhere.values()]:
            flight.abandon()
    return {key: found[key] for key in call.keys if key in found}


def _sort(  # noqa: PLR0917 (the places where a step may go)
    call: ManyCall,
    key: Any,
    step: Step,
    found: dict[Any, Any],
    flights: _Flights,
    waits: dict[Any, _core.FlightWait],
) -> None:
    """Puts a key where its step belongs."""
    kind, subject, old = step
    if kind == LEAD:
        flights[key] = subject, old
    elif kind == WAIT:
        waits[key] = subject
    else:
        if kind == STALE:
            call.cache._count("stale_hits")
        found[key] = subject


def _lock_many(call: ManyCall, flights: _Flights, elsewhere: _Flights, found: dict[Any, Any]) -> Flow:
    """Moves the flights of the keys that other machines compute to ``elsewhere``."""
    for key, (flight, old) in list(flights.items()):
        kind, value, _ = yield _ForKey(key, Lock(flight, overtakes=False))
        if kind == LEAD:
            continue
        del flights[key]
        if kind == HIT:
            found[key] = value
        else:
            elsewhere[key] = flight, old


def _lock_next(
    call: ManyCall, flights: _Flights, elsewhere: _Flights, found: dict[Any, Any], deadline: float
) -> Flow:
    """Waits for the value of a key that another machine computes, or until this one computes it."""
    key, (flight, old) = elsewhere.popitem()
    waiting = lock(call.single(key), flight, old, deadline)
    kind, subject, old = yield _ForKey(key, _Run(waiting))
    if kind == LEAD:
        flights[key] = subject, old
    else:
        if kind == STALE:
            call.cache._count("stale_hits")
        found[key] = subject


def _lead_many(call: ManyCall, flights: _Flights, found: dict[Any, Any]) -> Flow:
    """Computes the values of the keys that this caller leads. Empties ``flights``."""
    stale = {key: (flight, old) for key, (flight, old) in flights.items() if old is not None}
    stale_flights: _Flights = dict(stale)
    for _ in stale:
        call.cache._count("refreshes")

    def on_failure(error: BaseException) -> None:
        for key, (flight, _) in stale.items():
            fail_in_background(call, key, flight, error)

    if (
        stale
        and call.options.refresh == "background"
        and (yield Background(_compute_many(call, stale_flights, {}, has_caller=False), on_failure))
    ):
        for key, (_, old) in stale.items():
            del flights[key]
            found[key] = hand_out(call, old)
    if flights:
        led = dict(flights)
        flights.clear()
        yield from _compute_many(call, led, found)


def _compute_many(
    call: ManyCall, flights: _Flights, found: dict[Any, Any], *, has_caller: bool = True
) -> Flow:
    """Computes the values of several keys, stores them, and hands them to the waiters.

    In the background, there is no caller that gets what is found.
    """
    first, *others = (flight for flight, _ in flights.values())
    for flight in others:
        flight.compute_with(first)
    try:
        start = time.perf_counter()
        values = yield _ComputeMany(list(flights), Compute(first))
        cost = (time.perf_counter() - start) / len(flights)
        for key, (flight, old) in flights.items():
            if key in values:
                storing = store(call.single(key), flight, values[key], cost, old is not None)
                found[key] = yield _ForKey(key, _Run(storing))
            else:
                flight.abandon()
    except Exception as error:
        if _end_all(call, flights, found, error, has_caller):
            raise
    except BaseException:
        for flight, _ in flights.values():
            flight.abandon()
        raise


def _end_all(
    call: ManyCall, flights: _Flights, found: dict[Any, Any], error: Exception, has_caller: bool
) -> bool:
    """Ends all flights because of an exception; returns whether it is to be raised.

    It is not if all keys have old values, which are returned then.
    """
    is_raised = any(old is None and key not in found for key, (_, old) in flights.items())
    for key, (flight, old) in flights.items():
        if old is None:
            flight.fail(raised_by(error))
        elif key not in found:
            flight.abandon()
            keep_old(call, key, error)
            if has_caller and not is_raised:
                found[key] = hand_out(call, old)
    return is_raised


@dataclass(slots=True, eq=False)
class _ComputeMany:
    """Computes the values of several keys; the result is a mapping."""

    keys: list[Any]
    # A key that is needed meanwhile is checked for circles with one of the flights.
    compute: Compute

    def _call(self, call: ManyCall) -> Call:
        default = functools.partial(call.default_many, self.keys)
        return Call(call.cache, None, default, call.timeout, call.version, call.options)

    def act(self, call: ManyCall) -> Mapping[Any, Any]:
        return _checked(self.compute.act(self._call(call)))

    async def aact(self, call: ManyCall) -> Mapping[Any, Any]:
        return _checked(await self.compute.aact(self._call(call)))


def _checked(values: Any) -> Mapping[Any, Any]:
    if not isinstance(values, Mapping):
        raise TypeError(
            f"default_many returned {type(values).__name__}; expected a mapping with the values of the keys"
        )
    return values
