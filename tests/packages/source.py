"""Unpacks the source packages of the packages installed in `build/packages`.

requirements/packages.txt has their versions and hashes.
"""

import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from support import sdist
from support.sdist import ROOT

LOCKED = ROOT / "requirements" / "packages.txt"
CACHE = ROOT / ".cache" / "packages"
BUILD = ROOT / "build" / "packages"
PYTHON = BUILD / "bin" / "python"

PRINT_VERSION = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"


def unpack(package: str) -> Path:
    """Return the folder of the source package of the installed release."""
    if not PYTHON.exists():
        raise sdist.SourceError(f"{PYTHON} is missing; `make test-packages` makes it")
    command = [str(PYTHON), "-c", PRINT_VERSION, package]
    version = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    folder = BUILD / "source" / f"{package}-{version}"
    archive = sdist.fetch(package, version, hashes(package, version), CACHE)
    if not folder.exists():
        folder.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch, tarfile.open(archive) as tar:
            tar.extractall(scratch, filter="data")
            (inside,) = Path(scratch).iterdir()
            shutil.move(inside, folder)
    return folder


def hashes(package: str, version: str) -> list[str]:
    """Return the hashes of a release's files, as locked."""
    pattern = rf"^{re.escape(package)}=={re.escape(version)}(?= |$).*\n((?: +--hash=.*\n)+)"
    match = re.search(pattern, LOCKED.read_text(), re.MULTILINE)
    if match is None:
        raise sdist.SourceError(f"{package} {version} is installed, and {LOCKED} has another release")
    return re.findall(r"sha256:([0-9a-f]{64})", match[1])
