"""Reads ``OPTIONS["GET_OR_SET"]`` and ``OPTIONS["JITTER"]``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from nearcache.django.get_or_set_options import check_fraction
from nearcache.django.option_values import invalid
from nearcache.django.single_flight.call import Options


def read_get_or_set(options: Mapping[str, Any]) -> Options:
    """Reads the defaults of ``get_or_set``. Without a ``jitter`` of its own it has that of the cache.

    Raises `ImproperlyConfigured`.
    """
    given = options.get("GET_OR_SET", {})
    if not isinstance(given, Mapping):
        accepted = "a dictionary of arguments of get_or_set, such as {'stale': 300}"
        raise invalid("GET_OR_SET", given, accepted)
    try:
        return Options(jitter=read_jitter(options)).replaced(given)
    except (TypeError, ValueError) as error:
        raise ImproperlyConfigured(f'nearcache: OPTIONS["GET_OR_SET"]: {error}') from error


def read_jitter(options: Mapping[str, Any]) -> float:
    """Reads the fraction by which timeouts are shortened. Raises `ImproperlyConfigured`."""
    jitter = options.get("JITTER", 0.0)
    try:
        return check_fraction("jitter", jitter)
    except (TypeError, ValueError) as error:
        raise invalid("JITTER", jitter, "a fraction, at least 0 and less than 1") from error
