"""Waiting so that other greenlets run, in processes that gevent or eventlet has patched."""

from __future__ import annotations

import select
import sys
from collections.abc import Callable


def green_wait() -> Callable[[int], object] | None:
    """Returns a function that waits until a file descriptor is readable and lets other greenlets run.

    Returns None in a process that is not patched, where threads block.
    """
    return _wait if _is_patched() else None


def _is_patched() -> bool:
    """Returns whether ``select`` is gevent's or eventlet's."""
    gevent = sys.modules.get("gevent.monkey")
    if gevent is not None and gevent.is_module_patched("select"):
        return True
    eventlet = sys.modules.get("eventlet.patcher")
    return eventlet is not None and bool(eventlet.is_monkey_patched("select"))


def _wait(descriptor: int) -> None:
    # Looked up for each call: patching replaces it.
    select.select([descriptor], [], [])
