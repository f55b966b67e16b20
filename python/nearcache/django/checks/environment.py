"""Detects environments in which a site normally runs in one process."""

from __future__ import annotations

from django.conf import settings
from django.core import mail


def is_single_process() -> bool:
    """Returns whether this is development (``DEBUG``) or a test run.

    Django and pytest-django create ``mail.outbox`` for a test run.
    """
    return bool(settings.DEBUG) or hasattr(mail, "outbox")
