"""Refreshes that nobody waits for: in a few threads, or in asyncio in tasks.

A refresh runs in a copy of the caller's context, so that it sees the same language, time zone and tenant. A
thread has cache objects of its own, and closes them and its database connections afterwards. When the
interpreter exits, the refreshes that have been started are finished. If there are too many, or the event loop
is one of ``async_to_sync``, or ``settings.NEARCACHE_BACKGROUND_REFRESH`` is false, the caller computes.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any

from asgiref import local, sync
from django.conf import settings
from django.core.cache import caches

from nearcache.django.single_flight.run import arun, run

# Called with the exception that ended a refresh; ends the flight, if the flow has not. A flow handles each
# `Exception` of a computation itself.
OnFailure = Callable[[BaseException], None]

# Django keeps the language and the time zone in Locals of asgiref. A copy of a context has them. But in newer
# releases only the thread that set them sees them, unless asgiref moves them to another one. It has no
# public function for that. If this one is removed, refreshes run with the default language.
_STORAGE: type | None = getattr(local, "_Storage", None)
_RESTORE: Callable[[Any], None] | None = getattr(sync, "_restore_context", None)

# Threads of a process, and refreshes that may wait for one.
THREADS = 4
WAITING = 32


class _Pool:
    """A few threads, and a bound on what waits for them."""

    def __init__(self) -> None:
        self.executor = ThreadPoolExecutor(THREADS, thread_name_prefix="nearcache-refresh")
        self.places = threading.BoundedSemaphore(THREADS + WAITING)

    def start(self, work: Callable[[], None]) -> bool:
        """Starts work in a thread; returns False if there is too much, or no thread can be started."""
        if not self.places.acquire(blocking=False):
            return False
        untaken = [work]

        def do_work() -> None:
            taken = _take(untaken)
            if taken is not None:
                try:
                    taken()
                finally:
                    self.places.release()

        try:
            self.executor.submit(do_work)
        except RuntimeError:
            # `submit` queues the work before it starts a thread. If that fails, a thread that was started
            # earlier may take the work.
            if _take(untaken) is not None:
                self.places.release()
                return False
        return True


def _take(untaken: list[Callable[[], None]]) -> Callable[[], None] | None:
    """Returns the work for the first caller, None for all others."""
    try:
        return untaken.pop()
    except IndexError:
        return None


_pool: _Pool | None = None
_tasks: set[asyncio.Task[Any]] = set()


def _forget_pool() -> None:
    """Forgets the threads of the parent, in a child of ``fork``.

    The parent's tasks are kept: dropping one would run the ``finally`` blocks of its coroutine in the child.
    """
    global _pool  # noqa: PLW0603 (one pool a process)
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def _is_off() -> bool:
    return not getattr(settings, "NEARCACHE_BACKGROUND_REFRESH", True)


def start_thread(call: Any, flow: Generator[Any, Any, Any], on_failure: OnFailure) -> bool:
    """Runs a flow in another thread, in a copy of this context; returns whether it will be run."""
    global _pool  # noqa: PLW0603 (one pool a process)
    if _is_off():
        return False
    if _pool is None:
        _pool = _Pool()
    context = contextvars.copy_context()
    return _pool.start(lambda: context.run(_run_in_thread, context, call, flow, on_failure))


def _run_in_thread(
    context: contextvars.Context, call: Any, flow: Generator[Any, Any, Any], on_failure: OnFailure
) -> None:
    try:
        _move_locals(context)
        _run_and_close(call, flow)
    except BaseException as error:
        on_failure(error)


def _move_locals(context: contextvars.Context) -> None:
    """Lets this thread see the Locals in a context."""
    if _STORAGE is not None and _RESTORE is not None:
        # Only these: some releases compare all values, and the comparison of others may raise.
        _RESTORE({variable: value for variable, value in context.items() if isinstance(value, _STORAGE)})


def _run_and_close(call: Any, flow: Generator[Any, Any, Any]) -> None:
    # A cache that is imported before the settings are read does not load models.
    from django.db import connections  # noqa: PLC0415

    _forget_caches()
    with ExitStack() as at_end:
        at_end.callback(connections.close_all)
        at_end.callback(caches.close_all)
        run(call, flow)


def _forget_caches() -> None:
    """Lets this context have cache objects of its own, as each thread has: they need not be thread-safe.

    The caller's context keeps those that it has.
    """
    for alias in caches:
        with suppress(AttributeError):  # The caller has not used this one.
            del caches[alias]


def start_task(call: Any, flow: Generator[Any, Any, Any], on_failure: OnFailure) -> bool:
    """Runs a flow in another task of the event loop; returns whether it will be run."""
    loop = asyncio.get_running_loop()
    # A loop of async_to_sync, such as that of an asynchronous view under WSGI, ends with the call.
    if _is_off() or loop in sync.AsyncToSync.loop_thread_executors:
        return False
    task = loop.create_task(arun(call, flow))
    # The event loop keeps only weak references.
    _tasks.add(task)
    task.add_done_callback(functools.partial(_end_task, on_failure))
    return True


def _end_task(on_failure: OnFailure, task: asyncio.Task[Any]) -> None:
    _tasks.discard(task)
    # The end of the event loop cancels it.
    error = None if task.cancelled() else task.exception()
    if error is not None:
        on_failure(error)
