"""Checks of options that have no effect."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning

from nearcache.django.aliases import is_backend
from nearcache.django.options import WITHOUT_EFFECT
from nearcache.django.shared import SharedCache


def check_options(**kwargs: Any) -> list[CheckMessage]:
    """Warn of options that a SharedCache takes and does not heed."""
    found: list[CheckMessage] = []
    for alias, params in settings.CACHES.items():
        if not is_backend(params.get("BACKEND", ""), SharedCache):
            continue
        # Django takes them beside OPTIONS, too, in lower case.
        given = {*params.get("OPTIONS", {}), *(name.upper() for name in params if name.islower())}
        idle = [name for name in WITHOUT_EFFECT if name in given]
        if idle:
            text = (
                f"CACHES[{alias!r}] is a SharedCache, which is bounded by its size alone: "
                f"{' and '.join(idle)} {'have' if len(idle) > 1 else 'has'} no effect."
            )
            hint = (
                f"Remove {'them' if len(idle) > 1 else 'it'}, and say with OPTIONS['MAX_MEMORY'] how much "
                "the cache may hold."
            )
            found.append(Warning(text, hint=hint, id="nearcache.W003"))
    return found
