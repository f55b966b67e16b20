"""The text that stands for an argument in a key: typed, and injective.

Two values have the same text if and only if they have the same type and value, through all collections. Sets
and dicts are compared without their order, as Python does. The text is printable ASCII.

Each text is a term: a name of Python's, a number, a quoted string, or terms in brackets that a word may
precede. Brackets, commas and ``=`` occur elsewhere only in quotes. So a sequence of terms can be read in one
way.

Only exact types have an encoding here, because a subclass may have state that the encoding would not show. A
class may define ``__cache_key__``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.]+:[A-Za-z0-9_.]+")


class UnencodableError(Exception):
    """A value has no encoding. The message says what it is and why."""


def encode(value: object) -> str:
    """Returns the encoding of a value. Raises `UnencodableError`."""
    return ENCODERS[type(value)](value)


def encode_sequence(values: Iterable[object]) -> str:
    """Returns the encodings of some values, separated by commas."""
    return ",".join([ENCODERS[type(value)](value) for value in values])


def encode_mapping(values: Mapping[Any, object]) -> str:
    """Returns the encodings of the items of a mapping, sorted."""
    return ",".join(sorted([f"{encode(key)}={encode(value)}" for key, value in values.items()]))


def _encode_set(values: Iterable[object]) -> str:
    return ",".join(sorted(map(encode, values)))


def _encode_int(value: int) -> str:
    try:
        return repr(value)
    except ValueError:  # Python refuses to make decimal digits of a huge number.
        return hex(value)


def _encode_decimal(value: Decimal) -> str:
    # The case of the exponent's "E" depends on the decimal context.
    return f"Decimal({str(value).upper()})"


def _encode_moment(value: datetime | time) -> str:
    """Returns the encoding of a datetime or time, with its time zone and `fold`."""
    parts = [value.replace(tzinfo=None).isoformat()]
    if value.fold:
        parts.append("fold")
    if value.tzinfo is not None:
        parts.append(encode(value.tzinfo))
    return f"{type(value).__name__}({','.join(parts)})"


def _encode_timedelta(value: timedelta) -> str:
    return f"timedelta({value.days},{value.seconds},{value.microseconds})"


def _encode_timezone(value: timezone) -> str:
    return f"timezone({_encode_timedelta(value.utcoffset(None))},{value.tzname(None)!a})"


def _encode_zone(value: ZoneInfo) -> str:
    if value.key is None:
        raise UnencodableError("a ZoneInfo without a key")
    return f"ZoneInfo({value.key!a})"


def _encode_class(value: type) -> str:
    return f"class({_name_of(value)})"


class _Encoders(dict[type, Callable[[Any], str]]):
    """Maps types to the functions that encode their values. Finds the function of a new type once."""

    def __missing__(self, kind: type) -> Callable[[Any], str]:
        self[kind] = encoder = _find_encoder(kind)
        return encoder


ENCODERS = _Encoders(
    {
        type(None): repr,
        bool: repr,
        int: _encode_int,
        float: repr,
        str: ascii,
        bytes: repr,
        tuple: lambda value: f"({encode_sequence(value)})",
        list: lambda value: f"[{encode_sequence(value)}]",
        dict: lambda value: f"{{{encode_mapping(value)}}}",
        set: lambda value: f"set({_encode_set(value)})",
        frozenset: lambda value: f"frozenset({_encode_set(value)})",
        Decimal: _encode_decimal,
        UUID: lambda value: f"UUID({value.hex})",
        datetime: _encode_moment,
        date: lambda value: f"date({value.isoformat()})",
        time: _encode_moment,
        timedelta: _encode_timedelta,
        timezone: _encode_timezone,
        ZoneInfo: _encode_zone,
    }
)


def _find_encoder(kind: type) -> Callable[[Any], str]:
    """Returns the function that encodes the instances of a class. Raises `UnencodableError`."""
    if issubclass(kind, type):
        return _encode_class
    if hasattr(kind, "__cache_key__"):
        name = _name_of(kind)
        return lambda value: f"{name}({encode(value.__cache_key__())})"
    # A class may define `name` and `value` in another way, for example as labels.
    if issubclass(kind, Flag):
        name = _name_of(kind)
        return lambda value: f"{name}[{encode(value._value_)}]"
    if issubclass(kind, Enum):
        name = _name_of(kind)
        return lambda value: f"{name}[{value._name_!a}]"
    return _find_encoder_of_django_class(kind)


def _find_encoder_of_django_class(kind: type) -> Callable[[Any], str]:
    from django.db.models import Model  # noqa: PLC0415 (slow, and only models need it)
    from django.utils.functional import LazyObject  # noqa: PLC0415

    if issubclass(kind, LazyObject):
        return _encode_lazy
    if issubclass(kind, Model):
        return _model_encoder(kind)
    if kind is getattr(sys.modules.get("django.contrib.auth.models"), "AnonymousUser", None):
        name = _name_of(kind)
        return lambda value: f"{name}()"
    raise UnencodableError(f"an object of the class {_shown(kind)}, which has no encoding")


def _encode_lazy(value: Any) -> str:
    """Returns the encoding of the object that a `SimpleLazyObject` such as ``request.user`` stands for."""
    # Evaluates it; `_wrapped` is the object then.
    value.__class__  # noqa: B018
    return encode(value._wrapped)


def _model_encoder(kind: Any) -> Callable[[Any], str]:
    label = kind._meta.label
    shown = label if label.isascii() else ascii(label)
    return lambda value: f"{shown}({encode(_primary_key(value))})"


def _primary_key(value: Any) -> object:
    if value._state.adding or value.pk is None:
        label = value._meta.label
        raise UnencodableError(f"an unsaved or deleted {label}, without a primary key in the database")
    return value.pk


def _name_of(kind: type) -> str:
    """Returns the module and qualified name of a class.

    Raises `UnencodableError` if it is not found there, as is true of classes in functions: several may have
    this name.
    """
    found: Any = sys.modules.get(kind.__module__)
    for part in kind.__qualname__.split("."):
        found = getattr(found, part, None)
    if found is not kind:
        raise UnencodableError(
            f"the class {_shown(kind)} or an object of it, but the module has no class of this name"
        )
    name = f"{kind.__module__}:{kind.__qualname__}"
    return name if _PLAIN_NAME.fullmatch(name) else f"{kind.__module__!a}:{kind.__qualname__!a}"


def _shown(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
