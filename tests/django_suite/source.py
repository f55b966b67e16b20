"""Django's source package, the only one that has its tests: fetched once, checked by hash, kept in `.cache/`.

A file under its final name in the cache is whole: it is downloaded and checked elsewhere, then renamed.
"""

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

import django

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "django-suite"

# The sha256 of each source package: "Download files" on the package index, or `pip hash` of a download.
SHA256 = {
    "5.2.19": "ad03d8abc51dbff95ebf34b27123cf0c26a3b62db7ba0cd520783686362533d1",
    "6.0.10": "6005d030df924f85088454c18bd35dcf082b058aa355ad3df520d8de9aef9f41",
    "6.1.3": "b5d2d9e35295065d13b1927b3f19a59bd119f737aa6299def14ccca1ae3c8c0d",
}


class SourceError(Exception):
    """Django's source package can't be had; the message says why and what to do."""


def fetch() -> Path:
    """Return the source package of the installed Django, downloaded now unless an earlier run did."""
    version = django.get_version()
    if version not in SHA256:
        known = ", ".join(SHA256)
        raise SourceError(f"Django {version} is installed; add its hash to {__file__} (it knows {known})")
    archive = CACHE / f"django-{version}.tar.gz"
    if not archive.exists() or digest(archive) != SHA256[version]:
        download(version, archive)
    return archive


def digest(archive: Path) -> str:
    return hashlib.sha256(archive.read_bytes()).hexdigest()


def download(version: str, archive: Path) -> None:
    """Fetch with pip, since it knows the user's package index, proxy and certificates."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.parent) as scratch:
        locked = Path(scratch, "requirements.txt")
        locked.write_text(f"django=={version} --hash=sha256:{SHA256[version]}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--no-deps", "--no-binary=django", "--require-hashes", f"--dest={scratch}", f"-r{locked}"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise SourceError(
                f"could not download Django {version}'s source package, which has its tests. This takes the "
                f"network once; the file is then kept in {archive.parent}.\npip said:\n{result.stderr}"
            )
        (downloaded,) = Path(scratch).glob("*.tar.gz")
        downloaded.replace(archive)
