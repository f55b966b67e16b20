"""Which keys the command shows."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from django.conf import settings

from nearcache._core import KeyIterator
from nearcache.django.backend import Backend

# How the keys of Django's engines `cache` and `cached_db` begin. The rest is the session's cookie.
_DJANGO_SESSIONS = "django.contrib.sessions.cache"


class KeyListing:
    """The keys of a cache that fit a pattern, and how many were left out.

    Session keys are hidden by default, because one is enough to take over a session.
    """

    def __init__(self, cache: Backend, pattern: str, version: int | None, *, show_sessions: bool) -> None:
        """Prepare to list; nothing is read before the first key is wanted."""
        self._found = cache.iter_keys(pattern, version=version)
        self._hidden_prefixes = () if show_sessions else session_prefixes()
        #: Session keys passed over so far.
        self.hidden = 0
        #: Whether the whole cache has been looked through.
        self.ended = False

    def __iter__(self) -> Iterator[str]:
        """Yield the keys."""
        for key in self._found:
            if key.startswith(self._hidden_prefixes):
                self.hidden += 1
            else:
                yield key
        self.ended = True

    @property
    def others(self) -> int:
        """The keys passed over so far that belong to another version or ``KEY_PREFIX``."""
        return self._found._others if isinstance(self._found, KeyIterator) else 0


def session_prefixes() -> tuple[str, ...]:
    """Return what the keys of sessions begin with: those of Django's engines and of the one in use."""
    found = {_DJANGO_SESSIONS}
    try:
        engine = import_module(settings.SESSION_ENGINE)
    except ImportError:
        return tuple(found)  # an engine that does not exist has stored nothing
    store = getattr(engine, "SessionStore", None)
    for prefix in (getattr(engine, "KEY_PREFIX", None), getattr(store, "cache_key_prefix", None)):
        if isinstance(prefix, str) and prefix:
            found.add(prefix)
    return tuple(found)
