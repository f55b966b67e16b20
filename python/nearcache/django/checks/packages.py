"""Checks of packages that need one cache for all processes.

Some of these packages refuse LocMemCache or warn of it. They know it by its name or its class, and LocalCache
has neither. The settings say which cache a package uses and for what; the package itself is not imported.
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
from nearcache.django.proxy import cache as our_default_cache


@dataclass(frozen=True)
class Use:
    """What a package does with a cache."""

    #: The id of the check.
    identity: str
    #: Returns the aliases of the caches it uses: none if the package is not in use.
    aliases: Callable[[], Iterable[str]]
    #: What it does there.
    action: str
    #: What goes wrong if each process has a cache of its own.
    fault: str
    #: How the package is told which cache to use.
    choice: str


def check_packages(**kwargs: Any) -> list[CheckMessage]:
    """Warn if a package uses a LocalCache for what all processes have to see."""
    if is_single_process():
        return []
    return [
        _warning(use, alias) for use in USES for alias in dict.fromkeys(use.aliases()) if _is_local(alias)
    ]


def _is_local(alias: str) -> bool:
    return is_backend(settings.CACHES.get(alias, {}).get("BACKEND", ""), LocalCache)


def _warning(use: Use, alias: str) -> CheckMessage:
    text = f"{use.action} in CACHES[{alias!r}], a LocalCache: each process has its own, so {use.fault}."
    hint = (
        f"Use nearcache.django.SharedCache, which all processes of the machine share. {use.choice} If the "
        f"site runs in one process only, add '{use.identity}' to SILENCED_SYSTEM_CHECKS."
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
    # Its other backends do not read the setting. A backend of the site's own may extend the one that does.
    others = ("constance.backends.redisd.", "constance.backends.memory.")
    if apps.is_installed("constance") and alias and not backend.startswith(others):
        yield alias


def _ratelimit() -> Iterable[str]:
    # Its decorators work without the app, which has only its checks.
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
    # Views that name throttles of their own need the rates.
    if not classes and any((configured.get("DEFAULT_THROTTLE_RATES") or {}).values()):
        yield DEFAULT_CACHE_ALIAS


def _throttle_alias(path: str) -> Iterable[str]:
    """Return the alias of the cache that a throttle class uses, if any."""
    if path.startswith("rest_framework.throttling."):
        return [DEFAULT_CACHE_ALIAS]
    try:
        # Only the class itself says which cache it uses.
        cache = getattr(import_string(path), "cache", None)
    except ImportError:
        return []  # REST framework reports it
    if cache is default_cache or cache is our_default_cache:
        return [DEFAULT_CACHE_ALIAS]
    return [alias for alias in settings.CACHES if _is_local(alias) and caches[alias] is cache]


def _allauth() -> Iterable[str]:
    # There are limits by default; False turns those of an app off.
    limits = {
        "allauth.account": "ACCOUNT_RATE_LIMITS",
        "allauth.mfa": "MFA_RATE_LIMITS",
        "allauth.idp.oidc": "IDP_OIDC_RATE_LIMITS",
    }
    if any(apps.is_installed(app) and _setting(name, {}) is not False for app, name in limits.items()):
        yield DEFAULT_CACHE_ALIAS


_LIMIT = "a client may make as many attempts at each process as it may make in all"

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
        "a process goes on with the old value of a setting that another one has changed",
        "CONSTANCE_DATABASE_CACHE_BACKEND names the cache; with None there is none.",
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
        "a process goes on with results that another one's writes have made stale",
        "CACHALOT_CACHE names the cache.",
    ),
    Use(
        "nearcache.W008",
        _rest_framework,
        "Django REST framework's throttles count requests",
        _LIMIT,
        "The attribute `cache` of a throttle class is the cache it uses, by default the default cache.",
    ),
    Use(
        "nearcache.W009",
        _allauth,
        "django-allauth's rate limits count attempts",
        _LIMIT,
        "django-allauth uses the default cache.",
    ),
)
