"""django-constance's settings, in which the cache was LocMemCache under another name."""

from tests.settings import *  # noqa: F403 (settings modules are made this way)

from packages.environment import caches

CACHES = caches("default")
