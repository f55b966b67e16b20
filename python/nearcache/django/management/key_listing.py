"""`KeyListing`: the keys that the command lists, without session keys."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from django.conf import settings

from nearcache._core import KeyIterator
from nearcache.django.backend import Backend

# The prefix of the keys of Django's session engines `cache` and `cached_db`. The rest is the session cookie.
_DJANGO_SESSIONS = "django.contrib.sessions.cache"


class KeyListing:
    """Iterates over the keys of a cache that match a glob pattern, and counts the keys it leaves out.

    Session keys are hidden by default, because a session key is enough to take over the session.
    """

    def __init__(self, cache: Backend, pattern: str, version: int | None, *, show_sessions: bool) -> None:
        """Prepares the listing. The cache is read during the iteration."""
        self._found = cache.iter_keys(pattern, version=version)
        self._hidden_prefixes = () if show_sessions else session_prefixes()
        #: Number of session keys left out so far.
        self.hidden = 0
        #: Whether the whole cache has been read.
        self.ended = False

    def __iter__(self) -> Iterator[str]:
        """Yields the keys."""
        for key in self._found:
            if key.startswith(self._hidden_prefixes):
                self.hidden += 1
            else:
                yield key
        self.ended = True

    @property
    def others(self) -> int:
        """Returns the number of keys left out so far because they have another version or ``KEY_PREFIX``."""
        return self._found._others if isinstance(self._found, KeyIterator) else 0


def session_prefixes() -> tuple[str, ...]:
    """Returns the prefixes of session keys, for Django's session engines and for the configured one."""
    found = {_DJANGO_SESSIONS}
    try:
        engine = import_module(settings.SESSION_ENGINE)
    except ImportError:
        return tuple(found)  # an engine that cannot be imported has stored nothing
    store = getattr(engine, "SessionStore", None)
    for prefix in (getattr(engine, "KEY_PREFIX", None), getattr(store, "cache_key_prefix", None)):
        if isinstance(prefix, str) and prefix:
            found.add(prefix)
    return tuple(found)
