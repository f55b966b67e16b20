"""Checks third-party packages that need one cache for all processes (W004 to W009).

Some of these packages refuse LocMemCache or warn of it. They identify it by its name or class, so they do not
recognise a LocalCache. The checks read the settings of a package and do not import it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.cache import DEFAULT_CACHE_ALIAS, caches
from django.core.cache import cache as default_cache
from django.core.checks import CheckMessage, Warning
from django.utils.module_loading import import_string

from nearcache.django.aliases import is_backend
from nearcache.django.checks.environment import is_single_process
from nearcache.django.local import LocalCache
from nearcache.django.proxy import cache as fast_default_cache


@dataclass(frozen=True)
class Use:
    """How a package uses a cache, and what goes wrong if it is a LocalCache."""

    #: The id of the check.
    identity: str
    #: Returns the aliases of the caches that the package uses; empty if it is not in use.
    aliases: Callable[[], Iterable[str]]
    #: What the package does with the cache: the beginning of the message.
    action: str
    #: What goes wrong if each process has a separate cache: the end of the message.
    consequence: str
    #: Which setting chooses the cache: a sentence of the hint.
    setting: str


def check_packages(**kwargs: Any) -> list[CheckMessage]:
    """Warns if a package uses a LocalCache for data that all processes have to see."""
    if is_single_process():
        return []
    return [
        _warning(use, alias) for use in USES for alias in dict.fromkeys(use.aliases()) if _is_local(alias)
    ]


def _is_local(alias: str) -> bool:
    return is_backend(settings.CACHES.get(alias, {}).get("BACKEND", ""), LocalCache)


def _warning(use: Use, alias: str) -> CheckMessage:
    text = f"{use.action} in CACHES[{alias!r}], a LocalCache. Each process has its own, so {use.consequence}."
    hint = (
        f"Use nearcache.django.SharedCache, which all processes of the machine share. {use.setting} If the "
        f"site runs in one process, add '{use.identity}' to SILENCED_SYSTEM_CHECKS."
    )
    return Warning(text, hint=hint, id=use.identity)


def _setting(name: str, default: Any) -> Any:
    return getattr(settings, name, default)


def _axes() -> Iterable[str]:
    is_cached = _setting("AXES_HANDLER", "") == "axes.handlers.cache.AxesCacheHandler"
    if apps.is_installed("axes") and is_cached and _setting("AXES_ENABLED", True):
        yield _setting("AXES_CACHE", DEFAULT_CACHE_ALIAS)


def _constance() -> Iterable[str]:
    alias = _setting("CONSTANCE_DATABASE_CACHE_BACKEND", None)
    backend = _setting("CONSTANCE_BACKEND", "constance.backends.redisd.RedisBackend")
    # The other backends of django-constance ignore the setting. A custom backend may extend one that reads
    # it.
    others = ("constance.backends.redisd.", "constance.backends.memory.")
    if apps.is_installed("constance") and alias and not backend.startswith(others):
        yield alias


def _ratelimit() -> Iterable[str]:
    # The decorators work without the app; the app only has checks.
    in_use = apps.is_installed("django_ratelimit") or hasattr(settings, "RATELIMIT_USE_CACHE")
    if in_use and _setting("RATELIMIT_ENABLE", True):
        yield _setting("RATELIMIT_USE_CACHE", DEFAULT_CACHE_ALIAS)


def _cachalot() -> Iterable[str]:
    if apps.is_installed("cachalot") and _setting("CACHALOT_ENABLED", True):
        yield _setting("CACHALOT_CACHE", DEFAULT_CACHE_ALIAS)


def _rest_framework() -> Iterable[str]:
    configured = _setting("REST_FRAMEWORK", None) or {}
    classes = configured.get("DEFAULT_THROTTLE_CLASSES") or ()
    for path in [classes] if isinstance(classes, str) else classes:
        yield from _throttle_alias(path)
    # If only rates are configured, views set throttle_classes themselves.
    if not classes and any((configured.get("DEFAULT_THROTTLE_RATES") or {}).values()):
        yield DEFAULT_CACHE_ALIAS


def _throttle_alias(path: str) -> Iterable[str]:
    """Returns the alias of the cache that a throttle class uses, if any."""
    if path.startswith("rest_framework.throttling."):
        return [DEFAULT_CACHE_ALIAS]
    try:
        # The cache is an attribute of the class, so it has to be imported.
        cache = getattr(import_string(path), "cache", None)
    except ImportError:
        return []  # REST framework reports this error
    if cache is default_cache or cache is fast_default_cache:
        return [DEFAULT_CACHE_ALIAS]
    return [alias for alias in settings.CACHES if _is_local(alias) and caches[alias] is cache]


def _allauth() -> Iterable[str]:
    # The limits are on by default; False turns them off for one app.
    limits = {
        "allauth.account": "ACCOUNT_RATE_LIMITS",
        "allauth.mfa": "MFA_RATE_LIMITS",
        "allauth.idp.oidc": "IDP_OIDC_RATE_LIMITS",
    }
    if any(apps.is_installed(app) and _setting(name, {}) is not False for app, name in limits.items()):
        yield DEFAULT_CACHE_ALIAS


_LIMIT = "a client gets the allowed number of attempts in every process"

USES = (
    Use(
        "nearcache.W004",
        _axes,
        "django-axes counts failed logins",
        _LIMIT,
        "AXES_CACHE names the cache.",
    ),
    Use(
        "nearcache.W005",
        _constance,
        "django-constance caches settings",
        "a process keeps the old value of a setting after another process changed it",
        "CONSTANCE_DATABASE_CACHE_BACKEND names the cache; None turns caching off.",
    ),
    Use(
        "nearcache.W006",
        _ratelimit,
        "django-ratelimit counts requests",
        _LIMIT,
        "RATELIMIT_USE_CACHE names the cache.",
    ),
    Use(
        "nearcache.W007",
        _cachalot,
        "django-cachalot caches the results of queries",
        "a process keeps stale results after another process wrote to the database",
        "CACHALOT_CACHE names the cache.",
    ),
    Use(
        "nearcache.W008",
        _rest_framework,
        "Django REST framework's throttles count requests",
        _LIMIT,
        "The attribute `cache` of a throttle class sets its cache; the default is the default cache.",
    ),
    Use(
        "nearcache.W009",
        _allauth,
        "django-allauth's rate limits count attempts",
        _LIMIT,
        "django-allauth uses the default cache.",
    ),
)
