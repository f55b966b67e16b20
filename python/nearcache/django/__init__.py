"""Django's side of nearcache.

- `LocalCache`: the backend that takes LocMemCache's place.
- As an app (``"nearcache.django"`` in ``INSTALLED_APPS``): system checks of how ``CACHES`` is used.
"""

from nearcache.django.local import LocalCache

__all__ = ["LocalCache"]
