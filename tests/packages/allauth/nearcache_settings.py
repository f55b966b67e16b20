"""django-allauth's settings of a site with accounts only.

Its tests put LocMemCache into `CACHES` themselves, so it is the class that is replaced.
"""

from django.core.cache.backends import locmem
from tests.projects.account_only.settings import *  # noqa: F403 (settings modules are made this way)

import nearcache.django
from packages.environment import BACKEND, FILES


class Cache(getattr(nearcache.django, BACKEND)):
    def __init__(self, name, params):
        super().__init__(str(FILES / "default"), params)


locmem.LocMemCache = Cache
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
