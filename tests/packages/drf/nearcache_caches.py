"""A pytest plugin that makes ours the default cache, as the tests configure Django without `CACHES`."""

from django.conf import global_settings

from packages.environment import caches

global_settings.CACHES = caches("default")
