"""The size of the file of a `SharedCache` if ``MAX_MEMORY`` is not set."""

from __future__ import annotations

import os
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from nearcache.django.options import DEFAULT_MAX_MEMORY, MIN_SHARED_MEMORY

_MEGABYTE = 1024**2
# By path. Entries are only added, so threads and forked children need no lock.
_DEFAULT_SIZES: dict[Path, int] = {}


def default_size(path: Path) -> int:
    """Returns the default size, in bytes, of the cache file at a path.

    It is 64 MB, but at most half of the file system, because other programs use ``/dev/shm``, too. Computed
    from the total size of the file system, not from its free space, so that all processes get the same
    result; and once for each path, so that a process gets the same result after the file system is resized.
    Raises `ImproperlyConfigured` if half of the file system is less than 1 MB.
    """
    size = _DEFAULT_SIZES.get(path)
    return _DEFAULT_SIZES.setdefault(path, _default_size(path.parent)) if size is None else size


def _default_size(directory: Path) -> int:
    try:
        found = os.statvfs(directory)
    except OSError:  # opening the file will fail, too, with a better message
        return DEFAULT_MAX_MEMORY
    total = found.f_blocks * found.f_frsize
    half = total // 2 // _MEGABYTE * _MEGABYTE
    if not total or half >= DEFAULT_MAX_MEMORY:  # a tmpfs without a limit reports a total of 0
        return DEFAULT_MAX_MEMORY
    if half < MIN_SHARED_MEMORY:
        raise ImproperlyConfigured(
            f"nearcache: the file system of {directory} has {total} bytes. The default size of a SharedCache "
            "is half of that, which is less than 1 MB, the smallest size. Set "
            'OPTIONS["MAX_MEMORY"], enlarge the file system, or set LOCATION to a path on another one.'
        )
    return half
