"""Minimal settings for Django, and fixtures that make caches."""

import itertools
import resource
import shutil
import tempfile
from pathlib import Path

import django
import hypothesis
import pytest
from django.conf import settings
from django.core.cache.backends.locmem import LocMemCache

from support.caches import new_location
from support.manual_clock import CLOCK, START

settings.configure(
    SECRET_KEY="tests",
    USE_TZ=True,
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "nearcache.django"],
    CACHES={"default": {"BACKEND": "nearcache.django.LocalCache"}},
)
django.setup()

# Caches keep their connections as long as the process lives, and the tests make hundreds of caches.
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

# After the settings, as in a project.
from nearcache.django import LocalCache, SharedCache, location  # noqa: E402
from nearcache.django.single_flight.methods import SingleFlight  # noqa: E402

# The same examples in every run, and no deadline, since the machine may be slow.
hypothesis.settings.register_profile(
    "nearcache",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=200,
    suppress_health_check=[
        hypothesis.HealthCheck.function_scoped_fixture,
        hypothesis.HealthCheck.too_slow,
        # A test runs with each of our backends.
        hypothesis.HealthCheck.differing_executors,
    ],
)
hypothesis.settings.load_profile("nearcache")

# Settings that Django reads beside OPTIONS.
PARAMS = {"LOCATION", "TIMEOUT", "KEY_PREFIX", "VERSION", "KEY_FUNCTION", "OPTIONS"}

# The bytes that the files of all tests need.
SHARED_FILES = 2 * 1024**3


def _lead_without_overtaking(cache, wait, overtakes):
    assert not overtakes, "a caller has waited for its whole lock_timeout"
    return super(SingleFlight, cache)._lead(wait, overtakes)


@pytest.fixture(autouse=True)
def no_overtaking(request, monkeypatch):
    """Let calls fail that have waited for their whole `lock_timeout`, unless the test is marked `overtakes`.

    After that time they compute, as if their leader had ended. A test of what ends a wait must not pass so.
    """
    if request.node.get_closest_marker("overtakes") is None:
        monkeypatch.setattr(SingleFlight, "_lead", _lead_without_overtaking, raising=False)


@pytest.fixture
def backend():
    """Return the class of the caches that `make_cache` makes."""
    return LocalCache


@pytest.fixture(scope="session")
def shared_memory():
    """Return a directory for the files of SharedCaches, in `/dev/shm` if that has room."""
    parent = Path("/dev/shm")
    has_room = parent.is_dir() and shutil.disk_usage(parent).free > SHARED_FILES
    directory = Path(tempfile.mkdtemp(prefix="nearcache-tests-", dir=parent if has_room else None))
    yield directory
    shutil.rmtree(directory)


def _of_its_size(name, params):
    """Make a SharedCache; each size has a file of its own."""
    size = params.get("OPTIONS", {}).get("MAX_MEMORY")
    return SharedCache(name if size is None else f"{name}-{size}", params)


def _factory(default_backend, made, new_location=new_location):
    def make(*, backend=default_backend, **settings):
        """Make a cache from the settings in CACHES; settings that Django does not know go into OPTIONS.

        ``LOCATION`` is a new one unless given.
        """
        params = {name: value for name, value in settings.items() if name in PARAMS}
        options = {name: value for name, value in settings.items() if name not in PARAMS}
        location = params.pop("LOCATION", None)
        if options:
            params["OPTIONS"] = {**params.get("OPTIONS", {}), **options}
        cache = backend(new_location() if location is None else location, params)
        made.append(cache)
        return cache

    return make


@pytest.fixture
def make_cache(backend, request, monkeypatch):
    """Return a function that makes caches: ``make_cache(TIMEOUT=5, MAX_ENTRIES=10)``."""
    made = []
    if backend is SharedCache:
        # A process never closes its files, so the tests use a few of them again and again.
        monkeypatch.setattr(location, "SHARED_MEMORY", request.getfixturevalue("shared_memory"))
        names = (f"test-{number}" for number in itertools.count(1))
        yield _factory(_of_its_size, made, names.__next__)
    else:
        yield _factory(backend, made)
    # Stores live as long as the process.
    for cache in made:
        cache.clear()
        cache.reset_stats()


@pytest.fixture
def cache(make_cache):
    """Return a new cache of ours with default settings."""
    return make_cache()


@pytest.fixture
def make_locmem():
    """Return a function like `make_cache` for Django's LocMemCache."""
    made = []
    yield _factory(LocMemCache, made)
    for cache in made:
        cache.clear()


@pytest.fixture
def locmem(make_locmem):
    """Return a new LocMemCache with default settings."""
    return make_locmem()


@pytest.fixture
def clock(monkeypatch):
    """Return a clock that stands still: set `.now` or call `.advance(seconds)`.

    A LocalCache reads it if made with ``CLOCK=clock.path``; every LocMemCache does.
    """
    CLOCK.now = START
    monkeypatch.setattr("django.core.cache.backends.base.time", CLOCK)
    monkeypatch.setattr("django.core.cache.backends.locmem.time", CLOCK)
    yield CLOCK
    CLOCK.now = START
