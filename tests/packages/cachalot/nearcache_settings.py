"""cachalot's settings, with two caches of ours and two databases, as some of its tests need."""

from settings import *  # noqa: F403 (settings modules are made this way)

from packages.environment import caches, database

CACHES = caches("default", "other")
DATABASES = {"default": database("default"), "other": database("other")}
