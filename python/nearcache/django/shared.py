"""`SharedCache`: one cache for all processes of the machine."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from nearcache.django import inherited
from nearcache.django.backend import Backend
from nearcache.django.location import default_size, file_for, files_of_other_keys, status
from nearcache.django.options import DEFAULT_MAX_MEMORY, SharedOptions

_LOG = logging.getLogger("nearcache")


@dataclass(frozen=True)
class Verification:
    """What `SharedCache.verify` counted."""

    #: Entries that can be read, also those whose time is over that nobody has noticed yet.
    entries: int
    #: Bytes of their keys and values.
    payload: int
    #: Bytes they take, bookkeeping included.
    memory: int
    #: Entries that a killed process left half written; they read as missing.
    torn: int
    #: Bytes between entries that hold nothing, as there may be after a reboot. They are used again in time.
    gaps: int


class SharedCache(Backend):
    """Values in a file that all processes of this user on this machine share, bounded and evicted by use.

    No server: the file is mapped by every process. It survives restarts of all of them, and any of them may
    be killed at any instruction. Linux only. A value is kept as bytes: what is not ``None``, ``bool``,
    ``int``, ``float``, ``str`` or ``bytes`` is pickled, and a pickle that a process cannot read is a miss to
    it, counted in ``stats().unreadable``. See the README for the options and for who may write the file.
    """

    def __init__(self, name: str, params: dict[str, Any]) -> None:
        """Open the cache called ``name``, or at that path. Raises `ImproperlyConfigured` if it cannot be."""
        if not hasattr(self, "_open_shared"):
            raise ImproperlyConfigured(
                f"nearcache: SharedCache runs on 64-bit Linux only, and this is {sys.platform}. "
                "nearcache.django.LocalCache runs everywhere."
            )
        options = SharedOptions.parse(name, params)
        super().__init__({**params, "timeout": options.timeout})
        self._max_entries = self._cull_frequency = None  # they do not apply
        if options.reverse_key_function is not None:
            self.reverse_key_func = options.reverse_key_function
        known = inherited.file_of(options.location)
        self.path: Path = known or file_for(options.location)
        size = options.max_memory or default_size(self.path)
        self._max_memory = size
        before = status(self.path)
        # The command says so to a user who expected to find the site's file.
        self.was_missing = before is None and known is None
        try:
            self._open_shared(str(self.path), size, options.max_processes, options.clock)
        except (ValueError, OSError) as error:
            raise ImproperlyConfigured(f"nearcache: {error}") from error
        inherited.remember(options.location, self.path)
        after = status(self.path)
        is_new = before is None or (after is not None and _differ(before, after))
        if is_new and options.max_memory is None and size < DEFAULT_MAX_MEMORY:
            _warn_of_small_default(self.path, size)
        if before is None:
            _warn_of_other_keys(self.path)
        elif after is not None and is_new:
            self._warn_of_replacement(before, after)

    def _warn_of_replacement(self, before: os.stat_result, after: os.stat_result) -> None:
        """Warn that the file was recreated, which lost everyone's entries."""
        if before.st_size == after.st_size:
            why = "it had the format of another release, or another MAX_PROCESSES"
        else:
            why = (
                f"it had {before.st_size} bytes, and MAX_MEMORY is {self._max_memory}. If other settings use "
                "this file with another MAX_MEMORY, they recreate it in turn: give each a LOCATION of its own"
            )
        _LOG.warning("nearcache: %s was recreated and is empty: %s.", self.path, why)

    def verify(self) -> Verification:
        """Check everything that has to hold in the file.

        Reads all of it, mostly without a lock: writers wait for a few milliseconds at most, whatever the size
        of the file, and readers never wait. Raises ValueError that says what does not hold, TimeoutError if
        a stopped process holds a part of the file.
        """
        return Verification(*self._verify())


def _differ(before: os.stat_result, after: os.stat_result) -> bool:
    """Return whether these are two files. The number of a removed file may be given to its successor."""
    return (before.st_ino, before.st_size) != (after.st_ino, after.st_size)


def _warn_of_small_default(path: Path, size: int) -> None:
    """Warn that a new file is smaller than 64 MB because its file system is small."""
    _LOG.warning(
        "nearcache: created %s with %d MB, half of its file system, instead of the default of %d MB. Set "
        'OPTIONS["MAX_MEMORY"] to choose the size.',
        path,
        size // 1024**2,
        DEFAULT_MAX_MEMORY // 1024**2,
    )


def _warn_of_other_keys(path: Path) -> None:
    """Warn if a new default file is one of several of its settings module: the SECRET_KEY may be random."""
    others = len(files_of_other_keys(path))
    if others:
        _LOG.warning(
            "nearcache: created %s beside %d %s of the same settings module with another SECRET_KEY. If "
            "SECRET_KEY changes at every start, each process has a cache of its own: set LOCATION. "
            "`manage.py nearcache files --remove` deletes files that no process has open.",
            path,
            others,
            "file" if others == 1 else "files",
        )
