"""Checks whether ``clear`` of one cache deletes the entries of another one in the same database (W015)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Warning
from django.core.exceptions import ImproperlyConfigured

from nearcache.django.aliases import is_backend
from nearcache.django.checks.wording import listed
from nearcache.django.tiered import TieredCache
from nearcache.django.tiered_options import TieredOptions

# Their clear() empties the database.
_REDIS_CACHES = ("django.core.cache.backends.redis.RedisCache", "django_redis.cache.RedisCache")
_DEFAULT_PORTS = {"sentinel": "26379"}


@dataclass(frozen=True)
class _Use:
    """How one alias uses a database."""

    alias: str
    #: The servers, and the number of the database.
    database: tuple[object, ...]
    #: What its keys begin with; None if a function makes them.
    prefix: str | None
    #: Whether `clear` deletes everything in the database.
    flushes: bool
    is_tiered: bool

    def deletes_of(self, other: _Use) -> bool:
        """Returns whether ``clear`` deletes entries of another cache, although that has other keys."""
        if self.prefix == other.prefix or self.database != other.database:
            return False
        if self.flushes:
            return True
        return self.prefix is not None and other.prefix is not None and other.prefix.startswith(self.prefix)


def check_databases(**kwargs: Any) -> list[CheckMessage]:
    """Warns of caches whose ``clear`` deletes the entries of another cache.

    Caches with the same ``KEY_PREFIX`` have the same entries, so these are not reported. Nor are databases
    that no TieredCache uses.
    """
    uses = list(_uses())
    found: list[CheckMessage] = []
    for use in uses:
        others = [other for other in uses if use.deletes_of(other)]
        if not use.is_tiered:
            others = [other for other in others if other.is_tiered]
        if others:
            found.append(_warning(use, [other.alias for other in others]))
    return found


def _warning(use: _Use, others: list[str]) -> CheckMessage:
    text = f"clear() of {listed([use.alias])} also deletes the entries of {listed(others)}: "
    if not use.flushes:
        text += "they are in the same database, and their keys begin with the KEY_PREFIX of the former."
        hint = "Give each cache a KEY_PREFIX that does not begin with another one and a colon."
    elif use.is_tiered:
        text += "it empties the database, which they share."
        hint = (
            "Remove OPTIONS['CLEAR'], so that clear() deletes only the keys with the KEY_PREFIX of the "
            "cache, or give each cache a database of its own."
        )
    else:
        text += "a RedisCache empties its database, which they share."
        hint = "Give the TieredCache a database of its own, or make the RedisCache a TieredCache, too."
    return Warning(text, hint=hint, id="nearcache.W015")


def _uses() -> Iterator[_Use]:
    for alias, params in settings.CACHES.items():
        backend = params.get("BACKEND", "")
        try:
            if is_backend(backend, TieredCache):
                yield _of_tiered_cache(alias, params)
            elif backend in _REDIS_CACHES:
                yield _of_redis_cache(alias, params)
        except (ImproperlyConfigured, ValueError, TypeError, AttributeError):
            continue  # Django's own check, or the first use of the cache, reports an invalid setting


def _of_tiered_cache(alias: str, params: Mapping[str, Any]) -> _Use:
    options = TieredOptions.parse(params.get("LOCATION", ""), params)
    return _Use(
        alias,
        _database(options.locations[0], options.db),
        options.key_prefix or None,
        options.flush_database,
        is_tiered=True,
    )


def _of_redis_cache(alias: str, params: Mapping[str, Any]) -> _Use:
    location = params["LOCATION"]
    first = location.replace(";", ",").split(",")[0].strip() if isinstance(location, str) else location[0]
    options = params.get("OPTIONS", {})
    prefix = None if params.get("KEY_FUNCTION") else f"{params.get('KEY_PREFIX', '')}:"
    return _Use(alias, _database(first, options.get("db")), prefix, flushes=True, is_tiered=False)


def _database(url: str, default: int | None) -> tuple[object, ...]:
    """Returns what identifies a database: hosts, the socket or the service of Sentinels, and the number."""
    parts = urlsplit(url)
    kind = parts.scheme.partition("+")[2]
    hosts = tuple(sorted(_with_port(host, kind) for host in parts.netloc.rpartition("@")[2].split(",")))
    service, number = parts.path, None
    if parts.scheme != "unix":
        *names, last = parts.path.strip("/").split("/")
        if kind == "sentinel" and not names:
            names, last = [last], ""
        service, number = "/".join(names), last or None
    number = parse_qs(parts.query).get("db", [number])[-1]
    return kind, hosts, unquote(service), int(number or default or 0)


def _with_port(host: str, kind: str) -> str:
    name, colon, port = host.lower().rpartition(":")
    if not colon or port.endswith("]"):  # the colon is in an IPv6 address
        name, port = host.lower(), ""
    return f"{name}:{port or _DEFAULT_PORTS.get(kind, '6379')}"
