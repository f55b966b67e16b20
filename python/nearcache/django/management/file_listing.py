"""The files of SharedCaches: what they are, which processes use them, and the removal of unused ones."""

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
from nearcache.django.management.formatting import age, counted, megabytes, shown
from nearcache.django.options import SharedOptions
from nearcache.django.shared import SharedCache

HEADS = ["file", "size", "age", "opened ago", "processes", "cache"]


@dataclass(frozen=True)
class CacheFile:
    """A cache file of this user."""

    path: Path
    #: ``"cache"``, ``"other version"``, or ``"unfinished"``: a process began to create it.
    kind: str
    size: int
    #: Unix times, or None where the file system does not record them.
    created: float | None
    opened: float | None
    #: Whether a living process has it open.
    in_use: bool
    #: The processes that have it open; empty for another version's file.
    pids: list[int]
    #: The aliases in ``CACHES`` that use it.
    aliases: list[str]

    def remove(self) -> bool:
        """Remove the file unless a process has it open by now; return whether it was removed."""
        return not self.in_use and _core.remove_unused_file(self.path)


def find_files() -> tuple[list[CacheFile], list[str]]:
    """Return the cache files in this user's directory and those in ``CACHES``, and what could not be read.

    Opens no cache. Raises `ImproperlyConfigured` for a bad ``LOCATION``.
    """
    if not hasattr(_core, "inspect_file"):
        raise ImproperlyConfigured(
            f"nearcache: SharedCache runs on 64-bit Linux only, and this is {sys.platform}."
        )
    aliases = _aliases_by_path()
    files, problems = [], []
    for path in _candidates(aliases):
        try:
            kind, size, created, opened, in_use, pids = _core.inspect_file(path)
        except FileNotFoundError:
            continue  # it is not there, or no longer
        except ValueError as error:
            if path in aliases:  # what else lies in the directory is nobody's concern
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
    """Yield each path once at which a cache file may be."""
    own = own_directory()
    yield from sorted(own.iterdir()) if own.is_dir() else []
    for path in configured:
        if path.parent != own:
            yield path
            yield from sorted(path.parent.glob(f".{glob.escape(path.name)}.*.new"))


def as_json_object(file: CacheFile, removed: bool) -> dict[str, object]:
    """Return a file as JSON has it."""
    told = asdict(file)
    return told | {"path": str(file.path), "removed": removed}


def row(file: CacheFile) -> list[str]:
    """Return a file's cells below `HEADS`."""
    processes = ", ".join(map(str, file.pids)) or ("yes" if file.in_use else "none")
    what = ", ".join(map(shown, file.aliases)) or "-"
    return [
        shown(str(file.path)),
        megabytes(file.size),
        age(file.created),
        age(file.opened),
        f"{len(file.pids)}: {processes}" if file.pids else processes,
        what if file.kind == "cache" else f"{what} ({file.kind})",
    ]


def total(files: list[CacheFile]) -> str:
    """Return how many files these are and what they take."""
    return f"{counted(len(files), 'file')} ({megabytes(sum(file.size for file in files))})"
