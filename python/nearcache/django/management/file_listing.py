"""Finds, describes and removes the files of SharedCaches."""

from __future__ import annotations

import glob
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from nearcache import _core
from nearcache.django.aliases import nearcache_aliases
from nearcache.django.location import own_directory, path_of
from nearcache.django.management.formatting import age, counted, megabytes, printable
from nearcache.django.options import SharedOptions
from nearcache.django.shared import SharedCache

HEADINGS = ["file", "size", "age", "opened ago", "processes", "cache"]


@dataclass(frozen=True)
class CacheFile:
    """A SharedCache file of this user."""

    path: Path
    #: ``"cache"``, ``"other version"`` (of the format), or ``"unfinished"`` (its creation was interrupted).
    kind: str
    #: Bytes.
    size: int
    #: Unix times in seconds; None if the file system does not record them.
    created: float | None
    opened: float | None
    #: Whether a running process has the file open.
    in_use: bool
    #: The processes that have it open; empty for a file of another format version.
    pids: list[int]
    #: The aliases in ``CACHES`` that use this file.
    aliases: list[str]

    def remove(self) -> bool:
        """Removes the file unless a process has it open; returns whether it was removed."""
        removed = not self.in_use and _core.remove_unused_file(self.path)
        if removed:
            # Of the near tier of a TieredCache.
            self.path.with_name(f"{self.path.name}.state").unlink(missing_ok=True)
        return removed


def find_files() -> tuple[list[CacheFile], list[str]]:
    """Returns the cache files of this user, and error messages for those that could not be read.

    Searches the directory of this user and the paths in ``CACHES``. Does not open the caches. Raises
    `ImproperlyConfigured` if a ``LOCATION`` is invalid or the platform has no SharedCache.
    """
    if not hasattr(_core, "inspect_file"):
        raise ImproperlyConfigured(
            f"nearcache: SharedCache runs on 64-bit Linux only; this platform is {sys.platform}."
        )
    aliases = _aliases_by_path()
    files, problems = [], []
    for path in _candidates(aliases):
        try:
            kind, size, created, opened, in_use, pids = _core.inspect_file(path)
        except FileNotFoundError:
            continue  # not created yet, or removed meanwhile
        except ValueError as error:
            if path in aliases:  # ignores other files in the directory
                problems.append(str(error))
        except OSError as error:
            problems.append(str(error))
        else:
            found = CacheFile(path, kind, size, created, opened, in_use, pids, aliases.get(path, []))
            files.append(found)
    return files, problems


def _aliases_by_path() -> dict[Path, list[str]]:
    found: dict[Path, list[str]] = {}
    for alias in nearcache_aliases(SharedCache):
        params = settings.CACHES[alias]
        location = SharedOptions.parse(params.get("LOCATION", ""), params).location
        found.setdefault(path_of(location), []).append(alias)
    return found


def _candidates(configured: dict[Path, list[str]]) -> Iterator[Path]:
    """Yields the paths at which a cache file may be, each once."""
    own = own_directory()
    yield from sorted(own.iterdir()) if own.is_dir() else []
    for path in configured:
        if path.parent != own:
            yield path
            yield from sorted(path.parent.glob(f".{glob.escape(path.name)}.*.new"))


def as_json_object(file: CacheFile, removed: bool) -> dict[str, object]:
    """Returns the JSON object for a file."""
    return asdict(file) | {"path": str(file.path), "removed": removed}


def table_row(file: CacheFile) -> list[str]:
    """Returns the table row of a file; the columns are `HEADINGS`."""
    processes = ", ".join(map(str, file.pids)) or ("yes" if file.in_use else "none")
    aliases = ", ".join(map(printable, file.aliases)) or "-"
    return [
        printable(str(file.path)),
        megabytes(file.size),
        age(file.created),
        age(file.opened),
        f"{len(file.pids)}: {processes}" if file.pids else processes,
        aliases if file.kind == "cache" else f"{aliases} ({file.kind})",
    ]


def total(files: list[CacheFile]) -> str:
    """Returns the number of files and their total size as text."""
    return f"{counted(len(files), 'file')} ({megabytes(sum(file.size for file in files))})"
