"""The order of events of ``get_or_set``, as generators.

A generator yields an effect where it needs something that may wait: a computation, another caller, the store.
It gets the result, or the exception, and returns the value. So threads and tasks follow the same rules; they
differ only in how `effects` carries out an effect.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator
from typing import Any

from nearcache import _core
from nearcache.django.single_flight.call import AGAIN, LEAD, STALE, WAIT, Call, Step
from nearcache.django.single_flight.effects import (
    Background,
    Complete,
    Compute,
    Effect,
    Finish,
    Join,
    Read,
    Store,
    Wait,
    within,
)
from nearcache.django.single_flight.run import Stopped

_LOG = logging.getLogger("nearcache")

Flow = Generator[Effect, Any, Any]


def get_or_compute(call: Call, step: Step | None) -> Flow:
    """Returns the value of a key that was missed, or is to be computed early: then ``step`` is a leader's."""
    deadline = None
    while True:
        kind, subject, old = (yield Join()) if step is None else step
        if kind == LEAD:
            return (yield from lead(call, subject, old))
        if kind == WAIT:
            if deadline is None:
                deadline = time.monotonic() + call.options.lock_timeout
            step = yield Wait(subject, deadline)
        elif kind == AGAIN:
            step = None
        else:
            if kind == STALE:
                call.cache._count("stale_hits")
            return subject


def lead(call: Call, flight: _core.Flight, old: tuple[Any] | None) -> Flow:
    """Computes the value of a key, or has it computed if there is an old one."""
    if old is None:
        return (yield from compute(call, flight, None))
    call.cache._count("refreshes")
    computing = compute(call, flight, old)
    if call.options.refresh == "background" and (yield Background(computing)):
        call.cache._count("stale_hits")
        return old[0]
    return (yield from computing)


def compute(call: Call, flight: _core.Flight, old: tuple[Any] | None, replaces: bool = False) -> Flow:
    """Computes the value of a key, stores it, and hands it to the waiters.

    If that fails, they get the exception, unless there is an old value. If this caller is cancelled, one of
    them takes over.
    """
    try:
        start = time.perf_counter()
        value = yield Compute(flight)
        cost = time.perf_counter() - start
        return (yield from store(call, flight, value, cost, replaces or old is not None))
    except Exception as error:
        if old is None:
            flight.fail(error.stop if isinstance(error, Stopped) else error)
            raise
        flight.abandon()
        keep_old(call, call.key, error)
        return old[0]
    except BaseException:
        flight.abandon()
        raise


def store(call: Call, flight: _core.Flight, value: Any, cost: float, replaces: bool) -> Flow:
    """Stores a value and hands it to the waiters; returns the value that the callers get."""
    with within(flight):
        is_kept = call.options.store_if is None or call.options.store_if(value)
    if not is_kept:
        yield Finish(flight, value)
    elif call.by_methods:
        value = yield Store(flight, value, replaces)
        yield Finish(flight, value)
    elif not (yield Complete(flight, value, cost)):
        # As Django does: if another caller has written the key meanwhile, its value is returned.
        return (yield Read(value))
    return value


def keep_old(call: Any, key: Any, error: Exception) -> None:
    """Logs that a value could not be computed again, so that the old one is used."""
    call.cache._count("failed_refreshes")
    _LOG.error(
        "nearcache: the value of the key %r could not be computed again; its old value was returned",
        key,
        exc_info=error,
    )
