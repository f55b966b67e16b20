"""`LocalCache`, a cache in the memory of one process."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured

from nearcache.django.backend import Backend
from nearcache.django.options import LocalOptions


class LocalCache(Backend):
    """Caches entries in the memory of this process, shared by its threads.

    A replacement for ``django.core.cache.backends.locmem.LocMemCache`` with the same semantics: ``get``
    returns a value that shares no mutable object with the cache, and caches with the same ``LOCATION`` share
    their entries. When the cache is full, it evicts the entries that are least likely to be read again. The
    options are in docs/reference/settings.md. Assigning ``_max_entries``, ``_max_memory`` or
    ``_cull_frequency`` on an open cache takes effect on the next write.
    """

    def __init__(self, name: str, params: dict[str, Any]) -> None:
        """Opens the cache with the ``LOCATION`` ``name`` and the settings ``params`` from ``CACHES``.

        Raises `ImproperlyConfigured` if a setting is invalid.
        """
        options = LocalOptions.parse(name, params)
        super().__init__({**params, "timeout": options.timeout})
        self._read_flight_options(params)
        self._max_entries = options.max_entries
        self._max_memory = options.max_memory
        self._cull_frequency = options.cull_frequency
        if options.reverse_key_function is not None:
            self.reverse_key_func = options.reverse_key_function
        try:
            self._open_local(options.location, options.eviction, options.clock)
        except ValueError as error:
            raise ImproperlyConfigured(f"nearcache: {error}") from error
