"""Where a `SharedCache` keeps its file."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.crypto import salted_hmac

from nearcache.django.options import DEFAULT_MAX_MEMORY, MIN_SHARED_MEMORY

# Memory that has names in the file system. It is empty after a reboot.
SHARED_MEMORY = Path("/dev/shm")

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
# What `default_name` returns. Without a settings module (`settings.configure`) it shows none.
_DEFAULT_NAME = re.compile(r"default-(?:(?P<module>[A-Za-z0-9_.]+)-)?(?P<mark>[0-9a-f]{16})", re.ASCII)
_SHOWN_OF_MODULE = 80
_ACCEPTED = (
    "a name of up to 128 letters, digits, '_', '-' and '.', which does not begin with '-' or '.', or the "
    "absolute path of a file"
)

_MEGABYTE = 1024**2
# By path. Only ever added to, so that threads and children of ``fork`` need no lock.
_DEFAULT_SIZES: dict[Path, int] = {}


def file_for(location: str) -> Path:
    """Return the path for a ``LOCATION``, in a directory that exists. Raises `ImproperlyConfigured`."""
    path = path_of(location)
    if not location.startswith("/"):
        _make_own_directory()
    return path


def path_of(location: str) -> Path:
    """Return the path for a ``LOCATION``, and create nothing. Raises `ImproperlyConfigured`."""
    if location.startswith("/"):
        return _given(location)
    if location and not _NAME.fullmatch(location):
        raise ImproperlyConfigured(f"nearcache: LOCATION is {location!r}, but must be {_ACCEPTED}.")
    return own_directory() / (location or default_name())


def own_directory() -> Path:
    """Return the directory for this user's files, which may not exist yet."""
    return SHARED_MEMORY / f"nearcache-{os.geteuid()}"


def default_size(path: Path) -> int:
    """Return the size of the file at a path if ``MAX_MEMORY`` is not set. Raises `ImproperlyConfigured`.

    That is 64 MB, but at most half of the file system, since other programs keep files in ``/dev/shm``, too.
    The total size counts, not what is free, so that all processes get the same result. A process gets the
    same result each time, even if the file system is resized.
    """
    size = _DEFAULT_SIZES.get(path)
    return _DEFAULT_SIZES.setdefault(path, _default_size(path.parent)) if size is None else size


def _default_size(directory: Path) -> int:
    try:
        found = os.statvfs(directory)
    except OSError:  # to open the file will fail as well, with a better message
        return DEFAULT_MAX_MEMORY
    total = found.f_blocks * found.f_frsize
    half = total // 2 // _MEGABYTE * _MEGABYTE
    if not total or half >= DEFAULT_MAX_MEMORY:  # some file systems, as a tmpfs without a limit, tell no size
        return DEFAULT_MAX_MEMORY
    if half < MIN_SHARED_MEMORY:
        raise ImproperlyConfigured(
            f"nearcache: MAX_MEMORY is not set, and the default is half of the file system of {directory}. "
            f"That has {total} bytes, and half of it is less than 1 MB, the smallest size. Set "
            'OPTIONS["MAX_MEMORY"], enlarge the file system, or let LOCATION be a path on another one.'
        )
    return half


def files_of_other_keys(path: Path) -> list[Path]:
    """Return the default files beside this one of the same settings module with another ``SECRET_KEY``."""
    own = _DEFAULT_NAME.fullmatch(path.name)
    if own is None or own["module"] is None:
        return []
    beside = (_DEFAULT_NAME.fullmatch(other.name) for other in path.parent.iterdir())
    return sorted(
        path.with_name(other.string)
        for other in beside
        if other is not None and other["module"] == own["module"] and other["mark"] != own["mark"]
    )


def status(path: Path) -> os.stat_result | None:
    """Return what is at a path, as far as this user can see."""
    try:
        return path.lstat()
    except OSError:
        return None


def _given(location: str) -> Path:
    path = Path(location)
    if location.endswith("/") or "\0" in location or not path.name:
        raise ImproperlyConfigured(f"nearcache: LOCATION is {location!r}, but must be {_ACCEPTED}.")
    try:
        has_directory = path.parent.is_dir()
    except OSError as error:  # one further up may not be looked into
        raise ImproperlyConfigured(
            f"nearcache: LOCATION is {location!r}, where this user (uid {os.geteuid()}) cannot look: {error}"
        ) from error
    if not has_directory:
        raise ImproperlyConfigured(
            f"nearcache: LOCATION is {location!r}, but there is no directory {str(path.parent)!r}."
        )
    return path


def default_name() -> str:
    """Make a name that all processes of a project share, and two projects of one user do not.

    It shows the settings module: so `files_of_other_keys` finds what an earlier ``SECRET_KEY`` left behind.
    """
    try:
        secret = settings.SECRET_KEY
    except ImproperlyConfigured as error:
        raise ImproperlyConfigured(
            "nearcache: a SharedCache needs a LOCATION where there is no SECRET_KEY to make a name of. It "
            f"must be {_ACCEPTED}."
        ) from error
    module = str(getattr(settings, "SETTINGS_MODULE", ""))
    mark = salted_hmac("nearcache.location", module, secret=secret, algorithm="sha256").hexdigest()
    shown = re.sub(r"[^A-Za-z0-9_.]", "_", module)[:_SHOWN_OF_MODULE]
    return "-".join(filter(None, ["default", shown, mark[:16]]))


def _make_own_directory() -> None:
    """Create the directory for this user's files, which nobody else can look into."""
    if not SHARED_MEMORY.is_dir():
        raise ImproperlyConfigured(
            f"nearcache: there is no {SHARED_MEMORY} here to keep a SharedCache in memory: let LOCATION be "
            "the absolute path of a file."
        )
    directory = own_directory()
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        found = directory.lstat()
    except OSError as error:
        raise ImproperlyConfigured(f"nearcache: cannot make the directory {directory}: {error}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise ImproperlyConfigured(
            f"nearcache: {directory} is not a directory of this user (uid {os.geteuid()}): another user may "
            "have made it. Have it removed, or let LOCATION be an absolute path."
        )
    if found.st_mode & 0o077:
        raise ImproperlyConfigured(
            f"nearcache: {directory} is open to other users (mode {stat.S_IMODE(found.st_mode):o}): "
            "chmod 700 it."
        )
