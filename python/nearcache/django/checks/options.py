"""Checks for options of a SharedCache that have no effect (W003)."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning

from nearcache.django.aliases import is_backend
from nearcache.django.options import WITHOUT_EFFECT
from nearcache.django.shared import SharedCache


def check_options(**kwargs: Any) -> list[CheckMessage]:
    """Warns of options that a SharedCache accepts but ignores."""
    found: list[CheckMessage] = []
    for alias, params in settings.CACHES.items():
        if not is_backend(params.get("BACKEND", ""), SharedCache):
            continue
        # Django also accepts them beside OPTIONS, in lower case.
        given = {*params.get("OPTIONS", {}), *(name.upper() for name in params if name.islower())}
        ignored = [name for name in WITHOUT_EFFECT if name in given]
        if ignored:
            text = (
                f"CACHES[{alias!r}] is a SharedCache, whose capacity is the size of its file: "
                f"{' and '.join(ignored)} {'have' if len(ignored) > 1 else 'has'} no effect."
            )
            hint = (
                f"Remove {'them' if len(ignored) > 1 else 'it'}, and set the capacity with "
                "OPTIONS['MAX_MEMORY']."
            )
            found.append(Warning(text, hint=hint, id="nearcache.W003"))
    return found
