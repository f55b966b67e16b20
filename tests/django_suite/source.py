"""Django's source package, the only one that has its tests, pinned by hash."""

from pathlib import Path

import django

from support import sdist
from support.sdist import ROOT, SourceError

CACHE = ROOT / ".cache" / "django-suite"

# The sha256 of each source package: "Download files" on the package index, or `pip hash` of a download.
SHA256 = {
    "5.2.19": "ad03d8abc51dbff95ebf34b27123cf0c26a3b62db7ba0cd520783686362533d1",
    "6.0.10": "6005d030df924f85088454c18bd35dcf082b058aa355ad3df520d8de9aef9f41",
    "6.1.3": "b5d2d9e35295065d13b1927b3f19a59bd119f737aa6299def14ccca1ae3c8c0d",
}


def fetch() -> Path:
    """Return the source package of the installed Django."""
    version = django.get_version()
    if version not in SHA256:
        known = ", ".join(SHA256)
        raise SourceError(f"Django {version} is installed; add its hash to {__file__} (it knows {known})")
    return sdist.fetch("django", version, [SHA256[version]], CACHE)
