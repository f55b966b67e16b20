"""The cache files that this process has opened, by ``LOCATION``.

Needed when a process changes its user. ``gunicorn --preload -u nobody`` opens the caches as root and serves
requests as ``nobody``; the workers keep using the files that root opened. A plain name as ``LOCATION``
resolves to a different path for each user, so a thread that opens the same ``LOCATION`` again would get a
different file. This table gives it the path of the first one.
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


# By LOCATION. Entries are only added, so threads and forked children need no lock.
_OPENED: dict[str, _Opened] = {}


def find_inherited(location: str) -> Path | None:
    """Returns the path that this process opened for a ``LOCATION`` as another user, or None.

    Logs a warning if the process opened other caches, but not this one, as another user.
    """
    user = os.geteuid()
    opened = _OPENED.get(location)
    if opened is not None:
        return opened.path if opened.user != user else None
    others = {one.user for one in list(_OPENED.values())} - {user}
    if others:
        _LOG.warning(
            "nearcache: LOCATION %r is opened as uid %d, but this process opened other caches as uid %s. A "
            "plain name is a separate file for each user, so processes of uid %s do not share this cache. "
            "See 'Users' in docs/how-to/operate-shared-cache.md.",
            location,
            user,
            *[" and ".join(map(str, sorted(others)))] * 2,
        )
    return None


def record(location: str, path: Path) -> None:
    """Records the path and the effective user of a ``LOCATION``. Keeps the first record."""
    _OPENED.setdefault(location, _Opened(path, os.geteuid()))
