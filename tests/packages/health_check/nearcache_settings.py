"""A site whose health is checked."""

from packages.environment import caches, database

SECRET_KEY = "tests"
INSTALLED_APPS = ["health_check"]
ROOT_URLCONF = "nearcache_urls"
DATABASES = {"default": database("default")}
CACHES = caches("default", "other")
