"""The Django app: registers the system checks and applies the setting ``NEARCACHE_FAST_PROXY``."""

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import Tags, register
from django.core.exceptions import ImproperlyConfigured


class NearcacheConfig(AppConfig):
    """Configures the app ``"nearcache.django"`` in ``INSTALLED_APPS``."""

    name = "nearcache.django"
    label = "nearcache"
    verbose_name = "nearcache"

    def ready(self) -> None:
        """Registers the system checks and, if ``NEARCACHE_FAST_PROXY`` is true, calls `speed_up_django`.

        Raises `ImproperlyConfigured` if ``NEARCACHE_FAST_PROXY`` is not a bool.
        """
        # Imported here, so that a project without the app does not import the checks.
        from nearcache.django.checks import CHECKS, DEPLOY_CHECKS  # noqa: PLC0415

        for check in CHECKS:
            register(check, Tags.caches)
        for check in DEPLOY_CHECKS:
            register(check, Tags.caches, deploy=True)
        fast = getattr(settings, "NEARCACHE_FAST_PROXY", False)
        if not isinstance(fast, bool):
            raise ImproperlyConfigured(
                f"nearcache: NEARCACHE_FAST_PROXY is {fast!r}; expected True or False."
            )
        if fast:
            from nearcache.django.proxy import speed_up_django  # noqa: PLC0415 (as above)

            speed_up_django()
