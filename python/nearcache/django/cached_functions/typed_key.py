"""Keys that are made of the name of a function, and of the types and values of its arguments."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from nearcache.django.cached_functions.argument_encoding import (
    ENCODERS,
    UnencodableError,
    encode,
    encode_mapping,
    encode_sequence,
)
from nearcache.django.cached_functions.function_names import shown_name, unique_name

# The objects that the expression of a key uses.
NAMES: Mapping[str, Any] = {
    "type": type,
    "encoders": ENCODERS,
    "encode_mapping": encode_mapping,
    "encode_sequence": encode_sequence,
}


def typed_key(function: Callable[..., Any], signature: inspect.Signature, prefix: str) -> ast.JoinedStr:
    """Returns the expression of the key of a call. Raises `TypeError` if the function has no unique name.

    It uses the parameters, and `NAMES` with the prefix before each.
    """
    parts: list[ast.expr] = [ast.Constant(f"{unique_name(function)}(")]
    for number, one in enumerate(signature.parameters.values()):
        before, text, after = _encoding(one, prefix)
        parts.append(ast.Constant(f"{',' if number else ''}{before}"))
        parts.append(ast.FormattedValue(ast.parse(text, mode="eval").body, -1))
        parts.append(ast.Constant(after))
    return ast.JoinedStr([*parts, ast.Constant(")")])


def _encoding(one: inspect.Parameter, prefix: str) -> tuple[str, str, str]:
    """Returns the expression that encodes a parameter, between the texts before and after it."""
    if one.kind == one.VAR_POSITIONAL:
        return "(", f"{prefix}encode_sequence({one.name})", ")"
    if one.kind == one.VAR_KEYWORD:
        return "{", f"{prefix}encode_mapping({one.name})", "}"
    return "", f"{prefix}encoders[{prefix}type({one.name})]({one.name})", ""


def explain(function: Callable[..., Any], arguments: Mapping[str, object]) -> TypeError:
    """Returns the error that names the argument of which no key can be made."""
    for name, value in arguments.items():
        fault = _fault(value)
        if fault is not None:
            return TypeError(
                f"@cached: cannot make a key of the argument {name!r} of {shown_name(function)}: {fault}. "
                "Define __cache_key__ on the class, a method that returns what identifies an object; or give "
                f'@cached a key that names an attribute, such as key="...{{{name}.pk}}...", or leaves the '
                "argument out"
            )
    raise AssertionError(f"every argument of {shown_name(function)} has an encoding")


def _fault(value: object) -> str | None:
    """Returns why a value has no encoding, or None if it has one."""
    try:
        encode(value)
    except UnencodableError as error:
        return f"it is or contains {error}"
    return None
