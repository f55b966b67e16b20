"""System checks of how ``CACHES`` is used. The app registers `CHECKS`.

Bad options need none: Django's own check makes every cache, so they fail it with an ImproperlyConfigured.

==============  ============================================================================================
nearcache.W001  Sessions are kept in a LocalCache: each process would have its own.
nearcache.W002  Sessions are cached in a LocalCache in front of the database: other processes see stale ones.
nearcache.W003  A SharedCache has options of LocMemCache's that have no effect on it.
nearcache.W010  SharedCaches without a LOCATION share one file.
nearcache.W011  A SharedCache has no LOCATION, and SECRET_KEY, which names its file, differs in every process.
==============  ============================================================================================
"""

from nearcache.django.checks.locations import check_locations
from nearcache.django.checks.options import check_options
from nearcache.django.checks.sessions import check_sessions

CHECKS = (check_sessions, check_options, check_locations)

__all__ = ["CHECKS", "check_locations", "check_options", "check_sessions"]
