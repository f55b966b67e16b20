"""The app: it turns the system checks on, and if it is told to, makes Django's own proxies fast."""

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import Tags, register
from django.core.exceptions import ImproperlyConfigured


class NearcacheConfig(AppConfig):
    """``"nearcache.django"`` in ``INSTALLED_APPS``."""

    name = "nearcache.django"
    label = "nearcache"
    verbose_name = "nearcache"

    def ready(self) -> None:
        """Register the checks; honour ``NEARCACHE_FAST_PROXY``."""
        # Imported late: a project without the app never pays for it.
        from nearcache.django.checks import CHECKS  # noqa: PLC0415

        for check in CHECKS:
            register(check, Tags.caches)
        fast = getattr(settings, "NEARCACHE_FAST_PROXY", False)
        if not isinstance(fast, bool):
            raise ImproperlyConfigured(f"NEARCACHE_FAST_PROXY must be True or False, not {fast!r}")
        if fast:
            from nearcache.django.proxy import speed_up_django  # noqa: PLC0415 (likewise)

            speed_up_django()
