"""Resolves the ``LOCATION`` of a `SharedCache` to the path of its file."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.crypto import salted_hmac

# A file system in memory. It is empty after a reboot.
SHARED_MEMORY = Path("/dev/shm")

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
# The names that `default_name` returns. The module is missing if there is none, as with `settings.configure`.
_DEFAULT_NAME = re.compile(r"default-(?:(?P<module>[A-Za-z0-9_.]+)-)?(?P<digest>[0-9a-f]{16})", re.ASCII)
_MAX_MODULE_LENGTH = 80
_ACCEPTED = (
    "a name of up to 128 letters, digits, '_', '-' and '.' that begins with a letter, a digit or '_', or the "
    "absolute path of a file"
)


def file_for(location: str) -> Path:
    """Returns the path for a ``LOCATION``, after creating this user's directory for a plain name.

    Raises `ImproperlyConfigured` if the ``LOCATION`` is invalid or the directory cannot be used.
    """
    path = path_of(location)
    if not location.startswith("/"):
        _make_own_directory()
    return path


def path_of(location: str) -> Path:
    """Returns the path for a ``LOCATION`` without creating anything.

    Raises `ImproperlyConfigured` if the ``LOCATION`` is invalid.
    """
    if location.startswith("/"):
        return _checked_path(location)
    if location and not _NAME.fullmatch(location):
        raise ImproperlyConfigured(f"nearcache: LOCATION is {location!r}; expected {_ACCEPTED}.")
    return own_directory() / (location or default_name())


def own_directory() -> Path:
    """Returns the directory for the cache files of this user. It may not exist yet."""
    return SHARED_MEMORY / f"nearcache-{os.geteuid()}"


def files_of_other_keys(path: Path) -> list[Path]:
    """Returns the files with a default name for the same settings module but another ``SECRET_KEY``.

    Searches the directory of ``path``. Empty if ``path`` does not have a default name.
    """
    own = _DEFAULT_NAME.fullmatch(path.name)
    if own is None or own["module"] is None:
        return []
    beside = (_DEFAULT_NAME.fullmatch(other.name) for other in path.parent.iterdir())
    return sorted(
        path.with_name(other.string)
        for other in beside
        if other is not None and other["module"] == own["module"] and other["digest"] != own["digest"]
    )


def status(path: Path) -> os.stat_result | None:
    """Returns the status of a path, without following a link; None if it is missing or cannot be accessed."""
    try:
        return path.lstat()
    except OSError:
        return None


def _checked_path(location: str) -> Path:
    path = Path(location)
    if location.endswith("/") or "\0" in location or not path.name:
        raise ImproperlyConfigured(f"nearcache: LOCATION is {location!r}; expected {_ACCEPTED}.")
    try:
        has_directory = path.parent.is_dir()
    except OSError as error:  # a parent directory cannot be searched
        raise ImproperlyConfigured(
            f"nearcache: LOCATION is {location!r}, which this user (uid {os.geteuid()}) cannot access: "
            f"{error}"
        ) from error
    if not has_directory:
        raise ImproperlyConfigured(
            f"nearcache: LOCATION is {location!r}, but there is no directory {str(path.parent)!r}. Create "
            "it, or set LOCATION to a path in a directory that exists."
        )
    return path


def default_name() -> str:
    """Returns the file name for a cache without a ``LOCATION``.

    Derived from the settings module and ``SECRET_KEY``: all processes of a project get the same name, and two
    projects of one user get different names. Contains the name of the settings module, so that
    `files_of_other_keys` can find the files of an earlier ``SECRET_KEY``.
    """
    try:
        secret = settings.SECRET_KEY
    except ImproperlyConfigured as error:
        raise ImproperlyConfigured(
            "nearcache: a SharedCache without a LOCATION needs a SECRET_KEY, and it is not set. Set "
            f"SECRET_KEY, or set LOCATION to {_ACCEPTED}."
        ) from error
    module = str(getattr(settings, "SETTINGS_MODULE", ""))
    digest = salted_hmac("nearcache.location", module, secret=secret, algorithm="sha256").hexdigest()
    module_part = re.sub(r"[^A-Za-z0-9_.]", "_", module)[:_MAX_MODULE_LENGTH]
    return "-".join(filter(None, ["default", module_part, digest[:16]]))


def _make_own_directory() -> None:
    """Creates the directory for the cache files of this user, with mode 0700.

    Raises `ImproperlyConfigured` if it cannot be created, belongs to another user, or is open to others.
    """
    if not SHARED_MEMORY.is_dir():
        raise ImproperlyConfigured(
            f"nearcache: this machine has no {SHARED_MEMORY}, where a SharedCache has its file by default. "
            "Set LOCATION to the absolute path of a file."
        )
    directory = own_directory()
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        found = directory.lstat()
    except OSError as error:
        raise ImproperlyConfigured(f"nearcache: cannot create the directory {directory}: {error}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise ImproperlyConfigured(
            f"nearcache: {directory} is not a directory of this user (uid {os.geteuid()}); another user may "
            "have created it. Ask its owner to remove it, or set LOCATION to an absolute path."
        )
    if found.st_mode & 0o077:
        raise ImproperlyConfigured(
            f"nearcache: {directory} has mode {stat.S_IMODE(found.st_mode):o}, which gives other users "
            f"access; expected mode 700. Run: chmod 700 {directory}"
        )
