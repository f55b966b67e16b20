"""The cache that the pages of each test are stored in."""

import time

import pytest
from django.core.cache import caches
from django.test import override_settings

from nearcache.django import LocalCache, SharedCache, location
from support.caches import new_location

BACKENDS = {LocalCache: "nearcache.django.LocalCache", SharedCache: "nearcache.django.SharedCache"}
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]


@pytest.fixture(autouse=True, params=BACKENDS, ids=lambda backend: backend.__name__)
def cache(request, monkeypatch, clock):
    """Configure a cache for pages and return it. Its clock stands still."""
    clock.now = time.time()
    params = {
        "BACKEND": BACKENDS[request.param],
        "LOCATION": new_location(),
        "OPTIONS": {"CLOCK": clock.path},
    }
    if request.param is SharedCache:
        monkeypatch.setattr(location, "SHARED_MEMORY", request.getfixturevalue("shared_memory"))
        # A process never closes its files, so all tests use one.
        params["LOCATION"] = "pages"
        params["OPTIONS"]["MAX_MEMORY"] = "8MB"
    with override_settings(CACHES={"default": params}, TEMPLATES=TEMPLATES, ALLOWED_HOSTS=["testserver"]):
        yield caches["default"]
        caches["default"].clear()
        caches["default"].reset_stats()
