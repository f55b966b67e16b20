"""A cache near the code: Django cache backends on a Rust engine.

Set ``"BACKEND": "nearcache.django.LocalCache"`` in ``CACHES``; see `nearcache.django`.
"""

from nearcache._core import Stats, __version__

__all__ = ["Stats", "__version__"]
