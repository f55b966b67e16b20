"""Django cache backends written in Rust: for a process, all processes of a machine, or several machines.

Set ``"BACKEND": "nearcache.django.LocalCache"`` in ``CACHES``; see `nearcache.django`.
"""

from nearcache._core import Stats, __version__

__all__ = ["Stats", "__version__"]
