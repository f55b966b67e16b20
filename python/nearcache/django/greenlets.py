"""Waiting so that other greenlets run, in processes that gevent or eventlet has patched."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any


def green_wait() -> Callable[[int], object] | None:
    """Returns a function that waits until a file descriptor is readable and lets other greenlets run.

    Returns None in a process that is not patched, where threads block. The function is not ``select.select``,
    which both libraries patch: that refuses descriptors from 1024.
    """
    gevent = sys.modules.get("gevent.monkey")
    if gevent is not None and gevent.is_module_patched("select"):
        wait_read: Callable[[int], object] = import_module("gevent.socket").wait_read
        return wait_read
    eventlet = sys.modules.get("eventlet.patcher")
    if eventlet is not None and eventlet.is_monkey_patched("select"):
        trampoline: Any = import_module("eventlet.hubs").trampoline
        return lambda descriptor: trampoline(descriptor, read=True)
    return None
