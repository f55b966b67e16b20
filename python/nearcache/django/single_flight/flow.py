"""The order of events of ``get_or_set``, as generators.

A generator yields an effect where it needs something that may wait, or code of the caller: a computation,
another caller, the store. It gets the result, or the exception, and returns the value. So threads and tasks
follow the same rules; they differ only in how `effects` carries out an effect.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Generator
from typing import Any

from nearcache import _core
from nearcache.django.single_flight.call import AGAIN, HIT, LEAD, STALE, WAIT, Call, Old, Step
from nearcache.django.single_flight.effects import (
    Background,
    Complete,
    Compute,
    Effect,
    Finish,
    Join,
    Lock,
    Pause,
    Read,
    Store,
    StoreIf,
    Wait,
)
from nearcache.django.single_flight.run import raised_by

_LOG = logging.getLogger("nearcache")

# Seconds between two questions whether another machine has computed: each time twice as long.
_FIRST_PAUSE, _LAST_PAUSE = 0.001, 0.02

Flow = Generator[Effect, Any, Any]


def get_or_compute(call: Call, step: Step) -> Flow:
    """Returns the value of a key that was missed, or is to be computed early, from the first step on."""
    # Most callers lead at once. That takes less time without another generator around it.
    is_leader = step[0] == LEAD and not call.options.distributed
    return _lead(call, step) if is_leader else _join(call, step)


def _lead(call: Call, step: Step) -> Flow:
    _, flight, old = step
    return compute(call, flight, None) if old is None else refresh(call, flight, old)


def _join(call: Call, step: Step) -> Flow:
    """Waits for another caller's value, or leads."""
    while True:
        kind, subject, old = step
        if kind == LEAD and call.options.distributed:
            kind, subject, old = yield from lock(call, subject, old, call.deadline())
        if kind == LEAD:
            return (yield from _lead(call, (LEAD, subject, old)))
        if kind == WAIT:
            step = yield Wait(subject, call.deadline())
        elif kind == AGAIN:
            step = yield Join()
        else:
            if kind == STALE:
                call.cache._count("stale_hits")
            return subject


def lock(call: Call, flight: _core.Flight, old: Old | None, deadline: float) -> Flow:
    """Waits until this machine computes, or another one has computed; returns a step.

    If another machine computes, an old value is used at once, expired or not. A caller that cannot wait
    computes for itself.
    """
    pause = _FIRST_PAUSE
    try:
        while True:
            kind, value, _ = yield Lock(flight, time.monotonic() >= deadline)
            if kind == LEAD:
                return LEAD, flight, old
            if kind == HIT:
                return HIT, value, None
            if old is not None:
                flight.abandon()
                value, has_expired = old
                return STALE if has_expired else HIT, value, None
            if not (yield Pause(min(pause, max(0.0, deadline - time.monotonic())))):
                flight.lead_alone()
                return LEAD, flight, None
            pause = min(2 * pause, _LAST_PAUSE)
    except BaseException:
        flight.abandon()
        raise


def recompute(call: Call, flight: _core.Flight) -> Flow:
    """Computes the value of a key whatever it has now, instead of all others that compute it."""
    try:
        if call.options.distributed:
            yield Lock(flight, overtakes=True)
    except BaseException:
        flight.abandon()
        raise
    return (yield from compute(call, flight, None, replaces=True))


def refresh(call: Call, flight: _core.Flight, old: Old) -> Flow:
    """Computes the next value of a key that has an old one, or has it computed in the background."""
    call.cache._count("refreshes")
    if call.options.refresh == "background":
        computing = compute(call, flight, old, has_caller=False)
        on_failure = functools.partial(fail_in_background, call, call.key, flight)
        if (yield Background(computing, on_failure)):
            return hand_out(call, old)
    return (yield from compute(call, flight, old))


def compute(
    call: Call,
    flight: _core.Flight,
    old: Old | None,
    *,
    replaces: bool = False,
    has_caller: bool = True,
) -> Flow:
    """Computes the value of a key, stores it, and hands it to the waiters.

    If that fails, they get the exception, unless there is an old value. If this caller is cancelled, one of
    them takes over. In the background, there is no caller that gets the result.
    """
    try:
        start = time.perf_counter()
        value = yield Compute(flight)
        cost = time.perf_counter() - start
        return (yield from store(call, flight, value, cost, replaces or old is not None))
    except Exception as error:
        if old is None:
            flight.fail(raised_by(error))
            raise
        flight.abandon()
        keep_old(call, call.key, error)
        return hand_out(call, old) if has_caller else None
    except BaseException:
        flight.abandon()
        raise


def store(call: Call, flight: _core.Flight, value: Any, cost: float, replaces: bool) -> Flow:
    """Stores a value and hands it to the waiters; returns the value that the callers get."""
    store_if = call.options.store_if
    if store_if is not None and not (yield StoreIf(flight, store_if, value)):
        yield Finish(flight, value)
    elif call.by_methods:
        value = yield Store(flight, value, replaces)
        yield Finish(flight, value)
    elif not (yield Complete(flight, value, cost)):
        # As Django does: if another caller has written the key meanwhile, its value is returned.
        return (yield Read(value))
    return value


def hand_out(call: Any, old: Old) -> Any:
    """Returns an old value to a caller that does not get the new one."""
    value, has_expired = old
    if has_expired:
        call.cache._count("stale_hits")
    return value


def fail_in_background(call: Any, key: Any, flight: _core.Flight, error: BaseException) -> None:
    """Ends the flight of a refresh that was ended by an exception, perhaps before it began."""
    flight.abandon()
    keep_old(call, key, error)


def keep_old(call: Any, key: Any, error: BaseException) -> None:
    """Logs that a value could not be computed again, so that the old one is used."""
    call.cache._count("failed_refreshes")
    _LOG.error(
        "nearcache: the value of the key %r could not be computed again; its old value was returned",
        key,
        exc_info=raised_by(error),
    )
