"""The names of functions, for keys and for messages."""

from __future__ import annotations

import inspect
import types
from typing import Any


def shown_name(function: Any) -> str:
    """Returns the name of a function for a message."""
    name = getattr(function, "__qualname__", None)
    return repr(function) if name is None else f"{function.__module__}.{name}"


def unique_name(function: Any) -> str:
    """Returns the module and qualified name of a function. Raises `TypeError` if others may have the same."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not module or not name:
        raise TypeError(f"@cached: {function!r} has no name to make keys of; give @cached a key")
    if _is_bound(inspect.unwrap(function, stop=_is_bound)):
        raise TypeError(
            f"@cached: {module}.{name} is bound to an object, which its keys would not show; decorate the "
            "method in its class, or give @cached a key"
        )
    closure = getattr(inspect.unwrap(function), "__closure__", None)
    if "<lambda>" in name or ("<locals>" in name and closure):
        raise TypeError(
            f"@cached: several functions may have the name {module}.{name}, and so the same keys: it is a "
            "lambda, or uses variables of the function around it; give @cached a key"
        )
    text = f"{module}:{name}"
    # Keys are printable ASCII, except for spaces, whatever the arguments are.
    return text if text.isascii() and text.isprintable() else f"{module!a}:{name!a}"


def _is_bound(function: Any) -> bool:
    """Returns whether a function is the method of an object or class. Functions in C have their module."""
    owner = getattr(function, "__self__", None)
    return owner is not None and not isinstance(owner, types.ModuleType)
