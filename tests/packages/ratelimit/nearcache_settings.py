"""What django-ratelimit's tests need, whose source package has no settings."""

from packages.environment import BACKEND, caches, database

SECRET_KEY = "tests"
INSTALLED_APPS = ["django_ratelimit"]
DATABASES = {"default": database("default")}
CACHES = caches("default", "instant-expiration")
CACHES["instant-expiration"]["BACKEND"] = f"instant.{BACKEND}"
