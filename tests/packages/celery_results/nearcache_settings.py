"""django-celery-results' settings. One of its tests asks for Django's dummy cache by its alias."""

from t.proj.settings import *  # noqa: F403 (settings modules are made this way)
from t.proj.settings import CACHES as THEIRS

from packages.environment import caches

CACHES = {**caches("default"), "dummy": THEIRS["dummy"]}
