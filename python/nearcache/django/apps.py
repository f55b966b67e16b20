"""The app: its only work is to turn the system checks on."""

from django.apps import AppConfig
from django.core.checks import Tags, register


class NearcacheConfig(AppConfig):
    """``"nearcache.django"`` in ``INSTALLED_APPS``."""

    name = "nearcache.django"
    label = "nearcache"
    verbose_name = "nearcache"

    def ready(self) -> None:
        """Register the checks."""
        from nearcache.django import checks  # noqa: PLC0415 (imported late: a project without the app never pays)

        register(checks.check_sessions, Tags.caches)
