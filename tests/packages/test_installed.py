"""The packages' own checks and our system checks, each in a site with the real package."""

import json
import os
import subprocess

import pytest

from packages.source import PYTHON
from support.sdist import ROOT

LOCMEM = "django.core.cache.backends.locmem.LocMemCache"
LOCAL = "nearcache.django.LocalCache"
SHARED = "nearcache.django.SharedCache"

# Prints the ids of all messages of the checks, after anything that the package does when it is first used.
PROGRAM = """
import json, sys
from django.conf import settings
settings.configure(**json.loads(sys.argv[1]))
import django
django.setup()
exec(sys.argv[2])
from django.core import checks
print(json.dumps(sorted(message.id for message in checks.run_checks())))
"""
APPS = ["django.contrib.contenttypes", "django.contrib.auth", "nearcache.django"]
BASE = {
    "SECRET_KEY": "tests",
    "USE_TZ": True,
    "DEFAULT_AUTO_FIELD": "django.db.models.AutoField",
    "DATABASES": {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
}

SITES = {
    "axes": {
        "INSTALLED_APPS": [*APPS, "axes"],
        "MIDDLEWARE": ["axes.middleware.AxesMiddleware"],
        "AUTHENTICATION_BACKENDS": ["axes.backends.AxesStandaloneBackend"],
        "AXES_HANDLER": "axes.handlers.cache.AxesCacheHandler",
    },
    "constance": {
        "INSTALLED_APPS": [*APPS, "constance"],
        "CONSTANCE_BACKEND": "constance.backends.database.DatabaseBackend",
        "CONSTANCE_DATABASE_CACHE_BACKEND": "default",
    },
    "ratelimit": {"INSTALLED_APPS": [*APPS, "django_ratelimit"]},
    "cachalot": {"INSTALLED_APPS": [*APPS, "cachalot"]},
    "drf": {
        "INSTALLED_APPS": [*APPS, "rest_framework"],
        "REST_FRAMEWORK": {"DEFAULT_THROTTLE_CLASSES": ["rest_framework.throttling.AnonRateThrottle"]},
    },
    "allauth": {
        "INSTALLED_APPS": [*APPS, "allauth", "allauth.account"],
        "MIDDLEWARE": [
            "django.contrib.sessions.middleware.SessionMiddleware",
            "allauth.account.middleware.AccountMiddleware",
        ],
    },
}

# What each says with LocMemCache, LocalCache and SharedCache.
FOUND = {
    "axes": (["axes.W001"], ["nearcache.W004"], []),
    "constance": ([], ["nearcache.W005"], []),
    "ratelimit": (
        ["django_ratelimit.E003", "django_ratelimit.W001"],
        ["django_ratelimit.W001", "nearcache.W006"],
        ["django_ratelimit.W001"],
    ),
    # It knows LocMemCache as a cache that works and warns of every backend that it does not know.
    "cachalot": ([], ["cachalot.W001", "nearcache.W007"], ["cachalot.W001"]),
    "drf": ([], ["nearcache.W008"], []),
    "allauth": ([], ["nearcache.W009"], []),
}

# The cache that each package uses, as it finds it. (django-ratelimit finds it within a function.)
CACHE_OF = {
    "axes": "from axes.helpers import get_cache; cache = get_cache()",
    "constance": "from constance.backends.database import DatabaseBackend; cache = DatabaseBackend()._cache",
    "cachalot": "from cachalot.cache import cachalot_caches; cache = cachalot_caches.get_cache()",
    "drf": "from rest_framework.throttling import AnonRateThrottle; cache = AnonRateThrottle.cache",
    "allauth": "from allauth.core.internal.ratelimit import cache",
}


@pytest.fixture
def check(tmp_path):
    """Return a function that runs a site's checks in a process of its own and returns their ids."""

    def check(site, backend, program="", **changed):
        caches = {"default": {"BACKEND": backend, "LOCATION": str(tmp_path / "cache")}}
        configured = {**BASE, **SITES[site], "CACHES": caches, **changed}
        result = subprocess.run(
            [PYTHON, "-c", PROGRAM, json.dumps(configured), program],
            env=os.environ | {"PYTHONPATH": str(ROOT / "python")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout.splitlines()[-1])

    return check


@pytest.mark.parametrize("site", SITES)
class TestChecks:
    @pytest.mark.parametrize("backend", [LOCMEM, LOCAL, SHARED])
    def test_guards(self, check, site, backend):
        assert check(site, backend) == FOUND[site][[LOCMEM, LOCAL, SHARED].index(backend)]

    def test_ours_are_silent_under_debug_and_theirs_are_not(self, check, site):
        theirs = [name for name in FOUND[site][1] if not name.startswith("nearcache.")]
        assert check(site, LOCAL, DEBUG=True) == theirs
        assert check(site, LOCMEM, DEBUG=True) == FOUND[site][0]


@pytest.mark.parametrize("site", CACHE_OF)
def test_cache_that_is_checked_is_the_one_in_use(check, site):
    same = (
        "from django.core.cache import cache as default; default.set('key', 1); assert cache.get('key') == 1"
    )
    check(site, LOCAL, f"{CACHE_OF[site]}\n{same}")


def test_constance_refuses_locmem_and_takes_ours(check):
    refused = f"""
from django.core.exceptions import ImproperlyConfigured
try:
    {CACHE_OF["constance"].replace("; ", chr(10) + "    ")}
except ImproperlyConfigured as error:
    assert "cross-process" in str(error)
else:
    raise AssertionError("not refused")
"""
    check("constance", LOCMEM, refused)
    for backend in (LOCAL, SHARED):
        check("constance", backend, CACHE_OF["constance"])
