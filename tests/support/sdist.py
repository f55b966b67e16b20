"""Downloads source packages, which have tests, unlike wheels: once, checked by hash, into `.cache/`.

A file is downloaded and checked in a temporary folder, then renamed: the cache has complete files only.
"""

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class SourceError(Exception):
    """A source package could not be downloaded; the message says why and what to do."""


def fetch(name: str, version: str, sha256: list[str], folder: Path) -> Path:
    """Return the source package of a release, downloaded now unless an earlier run did.

    Its hash has to be one of ``sha256``.
    """
    archive = folder / f"{name}-{version}.tar.gz"
    if not archive.exists() or digest(archive) not in sha256:
        download(name, version, sha256, archive)
    return archive


def digest(archive: Path) -> str:
    return hashlib.sha256(archive.read_bytes()).hexdigest()


def download(name: str, version: str, sha256: list[str], archive: Path) -> None:
    """Download with pip, which uses the user's package index, proxy and certificates."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.parent) as scratch:
        locked = Path(scratch, "requirements.txt")
        locked.write_text(" ".join([f"{name}=={version}", *(f"--hash=sha256:{x}" for x in sha256)]) + "\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += [
            "--no-deps",
            f"--no-binary={name}",
            "--require-hashes",
            f"--dest={scratch}",
            f"-r{locked}",
        ]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise SourceError(
                f"could not download the source package of {name} {version}, which has its tests. This takes "
                f"the network once; the file is then kept in {archive.parent}.\npip said:\n{result.stderr}"
            )
        (downloaded,) = Path(scratch).glob("*.tar.gz")
        downloaded.replace(archive)
