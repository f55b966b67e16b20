"""`SharedCache`, a cache for all processes of one machine."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from nearcache.django import open_files
from nearcache.django.backend import Backend
from nearcache.django.file_size import default_size
from nearcache.django.location import file_for, files_of_other_keys, status
from nearcache.django.options import DEFAULT_MAX_MEMORY, SharedOptions

_LOG = logging.getLogger("nearcache")


@dataclass(frozen=True)
class Verification:
    """The result of `SharedCache.verify`."""

    #: Number of readable entries, including expired ones that have not been removed yet.
    entries: int
    #: Bytes of their keys and values.
    payload: int
    #: Bytes that they use in the file, including headers and the index.
    memory: int
    #: Number of entries that a killed process left partly written. They are treated as missing.
    torn: int
    #: Bytes between entries that belong to no entry, as may occur after a reboot. They are reused later.
    gaps: int


class SharedCache(Backend):
    """Caches entries in a file that all processes of one user on one machine map into memory.

    Needs no server. The entries survive a restart of all processes, and a process may be killed at any
    instruction. Runs on 64-bit Linux. Values of built-in types are stored without pickle; all others are
    pickled, unless ``OPTIONS["PICKLE"]`` is false. A value that this process cannot unpickle is a miss,
    counted in ``stats().unreadable``. The options are in docs/reference/settings.md;
    docs/explanation/trust.md says who may write the file.
    """

    def __init__(self, name: str, params: dict[str, Any]) -> None:
        """Opens the cache with the ``LOCATION`` ``name`` and the settings ``params`` from ``CACHES``.

        ``name`` is a plain name, an absolute path, or empty for the default. Creates the file if it is
        missing, and recreates it if it has another size, format or ``MAX_PROCESSES``. Raises
        `ImproperlyConfigured` if a setting is invalid or the file cannot be opened.
        """
        if not hasattr(self, "_open_shared"):
            raise ImproperlyConfigured(
                f"nearcache: SharedCache runs on 64-bit Linux only; this platform is {sys.platform}. "
                "nearcache.django.LocalCache runs everywhere."
            )
        options = SharedOptions.parse(name, params)
        super().__init__({**params, "timeout": options.timeout})
        self._read_flight_options(params)
        self._max_entries = self._cull_frequency = None  # without effect in a SharedCache
        self._pickles = options.pickle
        self._object_cache = options.object_cache
        if options.reverse_key_function is not None:
            self.reverse_key_func = options.reverse_key_function
        inherited = open_files.find_inherited(options.location)
        self.path: Path = inherited or file_for(options.location)
        self._max_memory: int = options.max_memory or default_size(self.path)
        before = status(self.path)
        # `manage.py nearcache` warns if it created the file: the site must be using another one.
        self.was_missing = before is None and inherited is None
        try:
            self._open_shared(str(self.path), self._max_memory, options.max_processes, options.clock)
        except (ValueError, OSError) as error:
            raise ImproperlyConfigured(f"nearcache: {error}") from error
        open_files.record(options.location, self.path)
        self._log_creation(before, is_default_size=options.max_memory is None)

    def _log_creation(self, before: os.stat_result | None, *, is_default_size: bool) -> None:
        """Logs a warning if opening the file created it with a small size, beside others, or over another."""
        after = status(self.path)
        is_new = before is None or (after is not None and _is_other_file(before, after))
        if is_new and is_default_size and self._max_memory < DEFAULT_MAX_MEMORY:
            _warn_of_small_default(self.path, self._max_memory)
        if before is None:
            _warn_of_other_keys(self.path)
        elif after is not None and is_new:
            self._warn_of_replacement(before, after)

    def _warn_of_replacement(self, before: os.stat_result, after: os.stat_result) -> None:
        """Logs that the file was recreated, which deleted the entries of all processes."""
        if before.st_size == after.st_size:
            reason = "it had the format of another release, or another MAX_PROCESSES"
        else:
            reason = (
                f"it had {before.st_size} bytes, and MAX_MEMORY is {self._max_memory}. If two caches have "
                "this LOCATION with different MAX_MEMORY, each recreates the file: give each a LOCATION of "
                "its own"
            )
        _LOG.warning("nearcache: %s was recreated and is empty: %s.", self.path, reason)

    def verify(self) -> Verification:
        """Checks the integrity of the whole file and returns what it counted.

        Reads the whole file, mostly without locks: writers wait for at most a few milliseconds, whatever the
        size of the file, and readers never wait. Raises `ValueError` with the first inconsistency that it
        finds, `TimeoutError` if a stopped process holds a lock.
        """
        return Verification(*self._verify())


def _is_other_file(before: os.stat_result, after: os.stat_result) -> bool:
    """Returns whether the file was replaced.

    Compares the sizes, too: a new file may get the inode number of the removed one.
    """
    return (before.st_ino, before.st_size) != (after.st_ino, after.st_size)


def _warn_of_small_default(path: Path, size: int) -> None:
    """Logs that a new file is smaller than 64 MB because its file system is small."""
    _LOG.warning(
        "nearcache: created %s with %d MB, which is half of its file system, instead of the default of %d "
        'MB. Set OPTIONS["MAX_MEMORY"] to choose the size.',
        path,
        size // 1024**2,
        DEFAULT_MAX_MEMORY // 1024**2,
    )


def _warn_of_other_keys(path: Path) -> None:
    """Logs that a new file is one of several of its settings module: SECRET_KEY may change at every start."""
    others = len(files_of_other_keys(path))
    if others:
        _LOG.warning(
            "nearcache: created %s beside %d %s of the same settings module with another SECRET_KEY. If "
            "SECRET_KEY changes at every start, every process uses a separate cache: set LOCATION. "
            "`manage.py nearcache files --remove` deletes files that no process has open.",
            path,
            others,
            "file" if others == 1 else "files",
        )
