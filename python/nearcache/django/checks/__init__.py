"""System checks of how ``CACHES`` is used. The app registers `CHECKS`.

Bad options need none: Django's own check makes every cache, so they fail it with an ImproperlyConfigured.

==============  ============================================================================================
nearcache.W001  Sessions are kept in a LocalCache: each process would have its own.
nearcache.W002  Sessions are cached in a LocalCache in front of the database: other processes see stale ones.
nearcache.W003  A SharedCache has options of LocMemCache's that have no effect on it.
nearcache.W004  django-axes' cache handler uses a LocalCache (``AXES_CACHE``).
nearcache.W005  django-constance uses a LocalCache (``CONSTANCE_DATABASE_CACHE_BACKEND``).
nearcache.W006  django-ratelimit uses a LocalCache (``RATELIMIT_USE_CACHE``).
nearcache.W007  django-cachalot uses a LocalCache (``CACHALOT_CACHE``).
nearcache.W008  A throttle of Django REST framework uses a LocalCache.
nearcache.W009  django-allauth's rate limits use a LocalCache.
nearcache.W010  SharedCaches without a LOCATION share one file.
nearcache.W011  A SharedCache has no LOCATION, and SECRET_KEY, which names its file, differs in every process.
==============  ============================================================================================

Those of a LocalCache (W001, W002, W004 to W009) are silent where there is one process by design: with
``DEBUG``, and in a test run. The packages' own checks do not make that distinction.
"""

from nearcache.django.checks.locations import check_locations
from nearcache.django.checks.options import check_options
from nearcache.django.checks.packages import check_packages
from nearcache.django.checks.sessions import check_sessions

CHECKS = (check_sessions, check_options, check_packages, check_locations)

__all__ = ["CHECKS", "check_locations", "check_options", "check_packages", "check_sessions"]
