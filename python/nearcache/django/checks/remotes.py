"""Checks TieredCaches whose remote tier is another cache of ``CACHES`` (W012)."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning

from nearcache.django.aliases import nearcache_aliases
from nearcache.django.remote_alias.options import DEFAULT_NEAR_TTL, has_remote
from nearcache.django.tiered import TieredCache


def check_remotes(**kwargs: Any) -> list[CheckMessage]:
    """Warns that nothing reports the writes of other processes to a TieredCache with ``REMOTE``."""
    found: list[CheckMessage] = []
    for alias in nearcache_aliases(TieredCache):
        params = settings.CACHES[alias]
        if not has_remote(params) or params["OPTIONS"].get("NEAR", "local") is None:
            continue
        seconds = params["OPTIONS"].get("NEAR_TTL", DEFAULT_NEAR_TTL)
        text = (
            f"CACHES[{alias!r}] has near copies of CACHES[{params['OPTIONS']['REMOTE']!r}], which does not "
            f"report writes: a read may be up to NEAR_TTL ({seconds} seconds) behind what another process "
            "has written or deleted."
        )
        hint = (
            "If that is acceptable, add 'nearcache.W012' to SILENCED_SYSTEM_CHECKS. Otherwise set "
            "OPTIONS['NEAR'] to None, or give the TieredCache a Redis or Valkey server as LOCATION."
        )
        found.append(Warning(text, hint=hint, id="nearcache.W012"))
    return found
