"""sorl-thumbnail's settings. Their key-value store is the one in the cache and the database."""

from tests.settings.pil import *  # noqa: F403 (settings modules are made this way)

from packages.environment import caches

CACHES = caches("default")
