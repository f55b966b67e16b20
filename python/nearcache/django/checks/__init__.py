"""System checks for the use of ``CACHES``. The app registers `CHECKS` and `DEPLOY_CHECKS`.

Invalid settings need no check: Django's own check opens every cache, which raises `ImproperlyConfigured`.

==============  ============================================================================================
nearcache.W001  Sessions are stored in a LocalCache, which other processes cannot see.
nearcache.W002  Sessions are cached in a LocalCache before the database; other processes may see stale ones.
nearcache.W003  A SharedCache has options of LocMemCache that have no effect.
nearcache.W004  The cache handler of django-axes uses a LocalCache (``AXES_CACHE``).
nearcache.W005  django-constance uses a LocalCache (``CONSTANCE_DATABASE_CACHE_BACKEND``).
nearcache.W006  django-ratelimit uses a LocalCache (``RATELIMIT_USE_CACHE``).
nearcache.W007  django-cachalot uses a LocalCache (``CACHALOT_CACHE``).
nearcache.W008  A throttle of Django REST framework uses a LocalCache.
nearcache.W009  The rate limits of django-allauth use a LocalCache.
nearcache.W010  Several SharedCaches without a LOCATION share one file.
nearcache.W011  A SharedCache has no LOCATION, and SECRET_KEY changes at every start.
nearcache.W012  A TieredCache has near copies of another cache, which reports no writes (``REMOTE``).
nearcache.W013  The server of a TieredCache refuses writes when it is full, or has no limit (``--deploy``).
nearcache.W014  A TieredCache hides outages of its server from sessions, so users are logged out.
nearcache.W015  ``clear`` of a cache deletes the entries of another cache in the same database.
nearcache.W016  The cache middleware stores responses in a SharedCache that refuses them (``PICKLE``).
nearcache.W017  The middleware that reads pages is nearcache's, the one that stores them is not.
==============  ============================================================================================

The checks that concern a LocalCache (W001, W002, W004 to W009) are silent with ``DEBUG`` and in test runs,
where there is usually one process; so is W014.
"""

from nearcache.django.checks.databases import check_databases
from nearcache.django.checks.locations import check_locations
from nearcache.django.checks.options import check_options
from nearcache.django.checks.packages import check_packages
from nearcache.django.checks.remotes import check_remotes
from nearcache.django.checks.responses import check_pair, check_responses
from nearcache.django.checks.servers import check_servers
from nearcache.django.checks.sessions import check_sessions

CHECKS = (
    *(check_sessions, check_options, check_packages, check_locations, check_remotes, check_databases),
    *(check_responses, check_pair),
)
# Those of `manage.py check --deploy`, which ask servers.
DEPLOY_CHECKS = (check_servers,)

__all__ = [
    "CHECKS",
    "DEPLOY_CHECKS",
    "check_databases",
    "check_locations",
    "check_options",
    "check_packages",
    "check_pair",
    "check_remotes",
    "check_responses",
    "check_servers",
    "check_sessions",
]
