"""The cache files that this process has open, for a process that changes its user.

A server may open caches as root and then serve as another user, as ``gunicorn --preload -u nobody`` does.
Its workers go on using the files they inherited. A thread of theirs that opens the same ``LOCATION`` again
must get the same file, although a plain name stands for another path under another user, who may not open it.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

_LOG = logging.getLogger("nearcache")


@dataclass(frozen=True, slots=True)
class _Opened:
    path: Path
    user: int


# By LOCATION. Only ever added to, so that threads and children of ``fork`` need no lock.
_OPENED: dict[str, _Opened] = {}


def find_inherited(location: str) -> Path | None:
    """Return the file that this process opened for a ``LOCATION`` as another user, or None.

    Logs a warning if there is none and this process opened other caches as another user.
    """
    user = os.geteuid()
    opened = _OPENED.get(location)
    if opened is not None:
        return opened.path if opened.user != user else None
    others = {one.user for one in list(_OPENED.values())} - {user}
    if others:
        _LOG.warning(
            "nearcache: this process opens LOCATION %r as uid %d, and opened other caches as uid %s: a plain "
            "name is a file of its own for each user, so processes of uid %s do not share this one. See "
            "'Users' in docs/shared-cache.md.",
            location,
            user,
            *[" and ".join(map(str, sorted(others)))] * 2,
        )
    return None


def record(location: str, path: Path) -> None:
    """Remember that this process has a file open, and as which user it opened it first."""
    _OPENED.setdefault(location, _Opened(path, os.geteuid()))
