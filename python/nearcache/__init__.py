"""Django cache backends written in Rust: for one process, for one machine, or for several machines.

Set ``"BACKEND": "nearcache.django.LocalCache"`` in ``CACHES``; see `nearcache.django`.
"""

from nearcache._core import Stats, __version__

__all__ = ["Stats", "__version__"]
