"""A copy of Django's tests with our backend in place of LocMemCache.

The copy is made while the source package is read, and lies in `build/django-suite/`. Its folder is named
after all that it is made from, and gets that name when it is whole: an old or a half copy is never used.
"""

import hashlib
import re
import shutil
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

from django_suite import source
from support.sdist import ROOT, digest

BUILD = ROOT / "build" / "django-suite"

# What runtests.py needs to run the suites in test_django_suite.py.
FILES = ("runtests.py", "test_sqlite.py", "urls.py")
FOLDERS = ("cache", "sessions_tests", "template_tests", "templates")

# The labels of what has tests of pickling. In these folders, values go through our cache. (Not here:
# urlpatterns_reverse and other modules of i18n, which import tests of more folders.)
PICKLING = (
    "aggregation_regress",
    "expressions",
    "foreign_object",
    "forms_tests",
    "httpwrappers",
    "i18n.tests",
    "mail",
    "model_fields",
    "model_regress",
    "multiple_database",
    "queries",
    "queryset_pickle",
    "template_tests",
    "utils_tests",
    "validation",
)
PICKLING_FOLDERS = tuple(label.partition(".")[0] for label in PICKLING)
IMPORT_PICKLE = re.compile(r"^( *)import pickle$", re.MULTILINE)

REPLACED = {
    '"django.core.cache.backends.locmem.LocMemCache"': '"nearcache.django.LocalCache"',
    "from django.core.cache.backends.locmem import LocMemCache": (
        "from nearcache.django import LocalCache as LocMemCache"
    ),
    "return self.lib.ResponseError": (
        "from nearcache.django.errors import RemoteResponseError; return RemoteResponseError"
    ),
    # RedisCacheTests looks for a cache of this class in CACHES.
    '"django.core.cache.backends.redis.RedisCache"': '"nearcache.django.TieredCache"',
    "from django.views.decorators.cache import cache_control, cache_page": (
        "from django.views.decorators.cache import cache_control\nfrom nearcache.django import cache_page"
    ),
    "from django.middleware.cache import": "from nearcache.django.middleware import",
    '"django.middleware.cache.': '"nearcache.django.middleware.',
}

# LocMemCacheTests.setUp makes the other aliases share the default one's private dicts. They do without it, as
# caches with one LOCATION always have; left in, it would fail every test of the class.
SHARING = re.compile(r'^ +caches\["\w+"\]\.(_cache|_expire_info) = cache\.\1\n', re.MULTILINE)
SHARING_LINES = 8


def prepare() -> Path:
    """Return a folder with the patched tests of the installed Django."""
    archive = source.fetch()
    made_from = hashlib.sha256(digest(archive).encode() + Path(__file__).read_bytes()).hexdigest()
    copy = BUILD / f"{archive.name.removeprefix('django-').removesuffix('.tar.gz')}-{made_from[:8]}"
    if not copy.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=BUILD))
        try:
            extract(archive, scratch)
            scratch.rename(copy)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return copy


def extract(archive: Path, into: Path) -> None:
    with tarfile.open(archive) as tar:
        for member in tar:
            name = wanted(member)
            if name is None:
                continue
            content = tar.extractfile(member).read()
            if name.suffix == ".py":
                content = patch(name, content.decode()).encode()
            target = into / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def wanted(member: tarfile.TarInfo) -> PurePosixPath | None:
    """Return the file's name below tests/, or None if the copy does without it."""
    _, folder, *rest = (*PurePosixPath(member.name).parts, "")
    if not member.isfile() or folder != "tests" or rest[0] not in {*FILES, *FOLDERS, *PICKLING_FOLDERS}:
        return None
    return PurePosixPath(*rest)


def patch(name: PurePosixPath, text: str) -> str:
    if name.parts[0] in PICKLING_FOLDERS:
        text = IMPORT_PICKLE.sub(r"\1from django_suite import through_cache as pickle", text)
    for old, new in REPLACED.items():
        text = text.replace(old, new)
    if name == PurePosixPath("cache/tests.py"):
        text, removed = SHARING.subn("", text)
        if removed != SHARING_LINES:
            raise ValueError(f"{name}: LocMemCacheTests.setUp has changed; see SHARING in {__file__}")
    if "cache.backends.locmem" in text:
        raise ValueError(f"{name} names LocMemCache in a way that REPLACED in {__file__} does not know")
    return text
