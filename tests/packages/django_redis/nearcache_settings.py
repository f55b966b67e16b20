"""Settings in place of django-redis's tests/settings/sqlite.py."""

from packages.environment import BACKEND, caches, database

SECRET_KEY = "tests"
USE_TZ = False
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"]
DATABASES = {"default": database("default")}
CACHES = caches("default", "with_prefix", "sample", "doesnotexist")
for params in CACHES.values():
    params["BACKEND"] = f"with_client.{BACKEND}"
    if BACKEND == "TieredCache":
        # As django-redis: a test gives no key of another one to its own KEY_FUNCTION.
        params["OPTIONS"] = {**params["OPTIONS"], "CLEAR": "flushdb"}
CACHES["with_prefix"]["KEY_PREFIX"] = "test-prefix"
