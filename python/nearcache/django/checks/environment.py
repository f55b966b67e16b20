"""When a site runs in one process, so that a cache per process is no fault."""

from __future__ import annotations

from django.conf import settings
from django.core import mail


def is_single_process() -> bool:
    """Tell whether this is development or a test run.

    ``DEBUG`` is development. Django and pytest-django make ``mail.outbox`` for a test run.
    """
    return bool(settings.DEBUG) or hasattr(mail, "outbox")
