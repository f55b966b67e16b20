"""`LocalCache`: the cache of one process."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured

from nearcache.django.backend import Backend
from nearcache.django.options import LocalOptions


class LocalCache(Backend):
    """Values in the memory of this process, for all of its threads, bounded and evicted by use.

    Takes the place of ``django.core.cache.backends.locmem.LocMemCache`` and behaves as it does: a value that
    comes out is never shared with the one inside, and ``LOCATION`` names the store. See the README for the
    options. Assigning ``_max_entries``, ``_max_memory`` and ``_cull_frequency`` on a live cache takes effect.
    """

    def __init__(self, name: str, params: dict[str, Any]) -> None:
        """Open the store called ``name``. Raises `ImproperlyConfigured` for bad options."""
        options = LocalOptions.parse(name, params)
        super().__init__({**params, "timeout": options.timeout})
        self._max_entries = options.max_entries
        self._max_memory = options.max_memory
        self._cull_frequency = options.cull_frequency
        if options.reverse_key_function is not None:
            self.reverse_key_func = options.reverse_key_function
        try:
            self._open_local(options.location, options.eviction, options.clock)
        except ValueError as error:
            raise ImproperlyConfigured(f"nearcache: {error}") from error
