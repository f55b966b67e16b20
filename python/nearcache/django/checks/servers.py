"""Checks how much memory the servers of TieredCaches may use, for ``check --deploy`` (W013)."""

from __future__ import annotations

import logging
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning
from django.core.exceptions import ImproperlyConfigured

from nearcache.django.aliases import nearcache_aliases
from nearcache.django.checks.wording import listed
from nearcache.django.errors import RemoteError
from nearcache.django.tiered import TieredCache
from nearcache.django.tiered_options import SYNONYMS, TieredOptions

_LOG = logging.getLogger("nearcache")
# How long the check may wait for a server to accept a connection, and for a reply.
_MAX_WAIT_SECONDS = 1.0
_HINT = (
    "Set maxmemory to what the server may use, and maxmemory-policy to 'allkeys-lfu', or to 'volatile-lfu' "
    "if the server also stores entries that must not be evicted. If this is intended, add 'nearcache.W013' "
    "to SILENCED_SYSTEM_CHECKS."
)


def check_servers(**kwargs: Any) -> list[CheckMessage]:
    """Warns of servers that refuse writes when they are full, or whose memory has no limit.

    Asks each server once. Silent about a server that cannot be asked.
    """
    found: list[CheckMessage] = []
    for aliases in _aliases_by_server().values():
        problem = next(filter(None, map(_problem, _told(aliases[0]))), None)
        if problem:
            text = f"The server of {listed(aliases)} {problem}"
            found.append(Warning(text, hint=_HINT, id="nearcache.W013"))
    return found


def _aliases_by_server() -> dict[tuple[str, ...], list[str]]:
    """Returns the aliases of TieredCaches by their LOCATION. Django's own check reports invalid settings."""
    found: dict[tuple[str, ...], list[str]] = {}
    for alias in nearcache_aliases(TieredCache):
        params = settings.CACHES[alias]
        try:
            options = TieredOptions.parse(params.get("LOCATION", ""), params)
        except ImproperlyConfigured:
            continue
        found.setdefault(tuple(options.locations), []).append(alias)
    return found


def _told(alias: str) -> list[str]:
    """Returns what each primary tells about its memory; nothing if it cannot be asked."""
    params = settings.CACHES[alias]
    given = {SYNONYMS.get(name, name): value for name, value in params.get("OPTIONS", {}).items()}
    try:
        options = TieredOptions.parse(params.get("LOCATION", ""), params)
        # Without a near tier, this process starts no listener and creates no file.
        given |= {
            "NEAR": None,
            "CONNECT_TIMEOUT": min(options.connect_timeout, _MAX_WAIT_SECONDS),
            "SOCKET_TIMEOUT": min(options.socket_timeout, _MAX_WAIT_SECONDS),
        }
        return TieredCache(params.get("LOCATION", ""), {**params, "OPTIONS": given})._info("memory")
    except (ImproperlyConfigured, RemoteError) as error:
        _LOG.info("nearcache: could not check the memory of the server of CACHES[%r]: %s", alias, error)
        return []


def _problem(told: str) -> str | None:
    """Returns what is wrong with the limit of a server, from its ``INFO memory``."""
    fields = dict(line.split(":", 1) for line in told.splitlines() if ":" in line)
    if fields.get("maxmemory") == "0":
        return (
            "has no limit for its memory (maxmemory 0). It evicts nothing and grows until the machine has no "
            "memory left."
        )
    if fields.get("maxmemory_policy") == "noeviction":
        return (
            "does not evict entries (maxmemory-policy noeviction). When it has reached maxmemory, it refuses "
            "writes, and set() raises."
        )
    return None
