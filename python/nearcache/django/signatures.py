"""Signatures of functions whose annotations may not be ready yet."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """Returns the signature of a function, without evaluating names in annotations that are not defined yet.

    Until Python 3.13 annotations are evaluated with the function. From 3.14 on, `inspect.signature` evaluates
    them, and a decorator would do so before the module, or the class around the function, is complete.
    """
    if sys.version_info >= (3, 14):
        from annotationlib import Format  # noqa: PLC0415 (new in 3.14)

        return inspect.signature(function, annotation_format=Format.FORWARDREF)
    return inspect.signature(function)
