"""`TieredCache`, a cache for several machines: near copies before a Redis or Valkey server."""

from __future__ import annotations

import atexit
import functools
import sys
from pathlib import Path
from typing import Any, cast

from django.core.exceptions import ImproperlyConfigured

from nearcache import _core
from nearcache.django.backend import Backend
from nearcache.django.remote_alias.methods import AliasMethods
from nearcache.django.remote_alias.options import has_remote
from nearcache.django.tiered_methods import TieredMethods
from nearcache.django.tiered_options import TieredOptions

if hasattr(_core, "stop_listeners"):
    # Another process of the machine can succeed this one at once.
    atexit.register(_core.stop_listeners)

# The source of the copies in each file of near copies that this process has opened.
_SOURCES: dict[Path, object] = {}


class TieredCache(TieredMethods, Backend):
    """Caches entries on a Redis or Valkey server, with copies in this process or on this machine.

    The server reports every write, so that a copy is not served when it is more than ``MAX_STALENESS``
    seconds out of date. Keys and values have the same form as those of Django's ``RedisCache``: both can use
    the same server. Connects at first use.

    With ``OPTIONS["REMOTE"]``, it becomes an `AliasTieredCache`, which keeps its entries in another cache of
    ``CACHES``.
    """

    def __init__(self, name: Any, params: dict[str, Any]) -> None:
        """Opens the cache on the servers of the ``LOCATION`` ``name``, with the settings ``params``.

        Raises `ImproperlyConfigured` if a setting is invalid.
        """
        if has_remote(params) and not isinstance(self, AliasTieredCache):
            kind: Any = type(self)
            self.__class__ = _with_remote(kind)
            AliasMethods.__init__(cast("AliasTieredCache", self), name, params)
            return
        if not hasattr(_core, "TieredBackend"):
            raise ImproperlyConfigured(
                f"nearcache: TieredCache runs on Linux, macOS and other Unix systems; this platform is "
                f"{sys.platform}. nearcache.django.LocalCache runs everywhere."
            )
        options = TieredOptions.parse(name, params)
        super().__init__({**params, "timeout": options.timeout})
        self._read_flight_options(params)
        self._max_entries = self._cull_frequency = None  # the near tier is bounded by memory
        self._max_memory = options.max_memory
        if options.reverse_key_function is not None:
            self.reverse_key_func = options.reverse_key_function
        self._flush_database = options.flush_database
        _check_near_file(options)
        try:
            self._open_tiered(options)
        except (ValueError, OSError) as error:
            raise ImproperlyConfigured(f"nearcache: {error}") from error

    def clear(self) -> None:
        """Deletes the entries of all versions whose keys begin with this cache's ``KEY_PREFIX``.

        Walks over the keys of the whole server. With ``OPTIONS["CLEAR"] = "flushdb"``, deletes everything in
        the database instead, as Django's RedisCache does.
        """
        if not self._flush_database and not self._has_default_keys():
            raise ImproperlyConfigured(
                "nearcache: clear() deletes the keys with the KEY_PREFIX of the cache, but a KEY_FUNCTION "
                'makes the keys of this one; OPTIONS["CLEAR"] = "flushdb" deletes the whole database.'
            )
        _core.Backend.clear(self)


class AliasTieredCache(AliasMethods, TieredCache):
    """A `TieredCache` whose remote tier is another cache of ``CACHES``, with copies for ``NEAR_TTL`` seconds.

    ``get_or_set`` computes once on this machine. ``stale`` and ``distributed`` have no effect.

    A `TieredCache` becomes one if the settings have ``OPTIONS["REMOTE"]``.
    """


@functools.cache
def _with_remote(kind: Any) -> Any:
    """Returns a subclass with the methods of `AliasTieredCache` beneath those of the class itself."""
    if kind is TieredCache:
        return AliasTieredCache
    return type(kind.__name__, (kind, AliasTieredCache), {"__module__": kind.__module__})


def _check_near_file(options: TieredOptions) -> None:
    """Raises `ImproperlyConfigured` if the file has near copies of another server, database or prefix.

    Each cache would serve the other's values under the keys that both have.
    """
    path = options.near_path
    if path is not None and _SOURCES.setdefault(path, options.source) != options.source:
        raise ImproperlyConfigured(
            f'nearcache: OPTIONS["NEAR_LOCATION"] is the file {path}, which this process uses for the near '
            "copies of another LOCATION, DB or KEY_PREFIX; expected a file for each of these. Without "
            "NEAR_LOCATION, each gets one."
        )
