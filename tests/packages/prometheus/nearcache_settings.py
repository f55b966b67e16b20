"""What django-prometheus' tests need, whose source package has no settings."""

from packages.environment import BACKEND, caches, database

SECRET_KEY = "tests"
INSTALLED_APPS = ["django_prometheus"]
DATABASES = {"default": database("default")}
CACHES = caches("default")
CACHES["default"]["BACKEND"] = f"counted.{BACKEND}"
