"""Parts of the settings of a run: `CACHES` with the backend of the run, and databases.

The tests that start a run say in environment variables which it is.
"""

import os
from pathlib import Path
from typing import Any

BACKENDS = ("LocalCache", "SharedCache")

# Of this run, in its own process. A TieredCache has its near tier after a slash.
SUITE = os.environ.get("NEARCACHE_SUITE", "")
BACKEND, _, NEAR = os.environ.get("NEARCACHE_BACKEND", "").partition("/")
SERVER = os.environ.get("NEARCACHE_SERVER", "")
FILES = Path(os.environ.get("NEARCACHE_FILES", ""))


def environment(suite: str, backend: str, files: Path, server: str) -> dict[str, str]:
    """Return the environment variables of a run; what it writes lies in ``files``."""
    here = Path(__file__).parent
    root = here.parents[1]
    return os.environ | {
        # The suite's own folder has its settings, tests/ has this package, and python/ has nearcache.
        "PYTHONPATH": os.pathsep.join(map(str, [here / suite, here.parent, root / "python"])),
        "NEARCACHE_SUITE": suite,
        "NEARCACHE_BACKEND": backend,
        "NEARCACHE_SERVER": server,
        "NEARCACHE_FILES": str(files),
    }


def caches(*aliases: str) -> dict[str, dict[str, Any]]:
    """Return `CACHES`: a cache for each alias, each in a store of its own, or all on one server."""
    options: dict[str, Any] = {"MAX_MEMORY": "32MB"}
    if BACKEND == "TieredCache":
        options["NEAR"] = None if NEAR == "None" else NEAR
    return {
        alias: {
            "BACKEND": f"nearcache.django.{BACKEND}",
            "LOCATION": SERVER or str(FILES / alias),
            "OPTIONS": options,
        }
        for alias in aliases
    }


def database(alias: str) -> dict[str, Any]:
    """Return a database in a file of this run, which threads may share."""
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(FILES / f"{alias}.sqlite3"),
        # Nobody needs it after a crash, and many tests write all of it.
        "OPTIONS": {"init_command": "PRAGMA synchronous=OFF; PRAGMA journal_mode=MEMORY"},
        "TEST": {"NAME": str(FILES / f"test-{alias}.sqlite3")},
    }
