"""axes' settings."""

from tests.settings import *  # noqa: F403 (settings modules are made this way)

from packages.environment import caches

CACHES = caches("default")
