"""Settings for the copied tests: Django's own for SQLite, our backend as the default cache, our test runner.

With the policy "default" nothing is said of eviction: it is the default, and the default is what is tested.
With "shared", SharedCache has LocalCache's name, and its files lie in the run's own folder.
With "lru", OPTIONS["EVICTION"] is added to every cache of ours. The tests spell CACHES in many ways, so this
is done where they all come together: in the handler that every CACHES setting passes through.
"""

import os
from pathlib import Path

from django.core.cache import CacheHandler
from test_sqlite import *  # noqa: F403 (settings modules are made this way)

import nearcache.django
from nearcache.django import location

BACKEND = "nearcache.django.LocalCache"
# Django's tests also subclass the backend. All must agree on the policy, since they share one store.
SUBCLASSES = (
    "cache.closeable_cache.CacheClass",
    "cache.failing_cache.CacheClass",
    "cache.liberal_backend.CacheClass",
)
POLICY = os.environ["NEARCACHE_SUITE_POLICY"]
# The near tiers of RedisCacheTests, which run with a TieredCache.
NEAR = {"tiered": None, "tiered with near copies": "local"}

CACHES = {"default": {"BACKEND": BACKEND}}
if POLICY in NEAR:
    CACHES["redis"] = {
        "BACKEND": "nearcache.django.TieredCache",
        "LOCATION": os.environ["NEARCACHE_SUITE_SERVER"],
        "OPTIONS": {"NEAR": NEAR[POLICY]},
    }
TEST_RUNNER = "django_suite.runner.Runner"


def add_policy(params):
    if params.get("BACKEND") not in (BACKEND, *SUBCLASSES):
        return params
    return {**params, "OPTIONS": {"EVICTION": POLICY, **params.get("OPTIONS", {})}}


def configure_settings(self, settings, configure=CacheHandler.configure_settings):
    return {alias: add_policy(params) for alias, params in configure(self, settings).items()}


if POLICY == "shared":
    nearcache.django.LocalCache = nearcache.django.SharedCache
    location.SHARED_MEMORY = Path(os.environ["NEARCACHE_SUITE_RAN"]).parent
elif POLICY == "lru":
    CacheHandler.configure_settings = configure_settings
