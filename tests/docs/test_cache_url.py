"""The recipes of docs/how-to/cache-url.md, each run with its package."""

import re
import sys
from pathlib import Path

import pytest
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from nearcache.django import LocalCache, SharedCache, location

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "cache-url.md"
MIB = 1024**2

linux = pytest.mark.skipif(sys.platform != "linux", reason="SharedCache is for Linux")
# The recipes' headings, and what has to be installed for them.
RECIPES = {
    "django-environ": ["environ"],
    "django-cache-url": ["django_cache_url"],
    "environs": ["environs", "django_cache_url"],
}
ON_DISK = "django-environ, a file on a disk"


def recipe(heading):
    """Return the Python of a section of the page."""
    (section,) = re.findall(rf"^##+ {re.escape(heading)}\n(.*?)(?=^##|\Z)", PAGE.read_text(), re.M | re.S)
    (program,) = re.findall(r"```python\n(.*?)```", section, re.S)
    return program


@pytest.fixture(params=RECIPES)
def configured(request, monkeypatch, tmp_path):
    """Return a function that runs a recipe with a ``CACHE_URL`` and returns what it makes of it."""
    for module in RECIPES[request.param]:
        pytest.importorskip(module)
    monkeypatch.setattr(location, "SHARED_MEMORY", tmp_path)

    def run(url, heading=request.param):
        monkeypatch.setenv("CACHE_URL", url)
        settings = {}
        exec(recipe(heading), settings)
        return settings["CACHES"]

    run.package = request.param
    return run


def opened(configured):
    """Make the cache of these settings as Django does, and use it."""
    with override_settings(CACHES=configured):
        cache = caches["default"]
        cache.set("key", "value")
        assert cache.get("key") == "value"
        return cache


def test_page_has_no_other_recipes():
    assert len(re.findall(r"```python\n", PAGE.read_text())) == len([*RECIPES, ON_DISK])


@linux
def test_shared_cache_with_options(configured):
    cache = opened(configured("sharedcache://mysite?max_memory=2MB&timeout=600&key_prefix=pages"))
    assert isinstance(cache, SharedCache)
    assert cache.path.name == "mysite"
    assert cache.stats().max_memory == 2 * MIB
    assert (cache.default_timeout, cache.key_prefix) == (600, "pages")
    assert cache.ttl("key") == 600


@linux
def test_size_in_bytes(configured):
    assert opened(configured(f"sharedcache://bytes?max_memory={3 * MIB}")).stats().max_memory == 3 * MIB


@linux
def test_file_on_a_disk(configured, tmp_path):
    path = tmp_path / "pages"
    if configured.package == "django-environ":
        settings = configured(f"filecache://{path}?max_memory=1MB", ON_DISK)
    else:
        settings = configured(f"sharedcache://{path}?max_memory=1MB")
    cache = opened(settings)
    assert isinstance(cache, SharedCache)
    assert (cache.path, path.stat().st_size) == (path, MIB)


def test_local_cache_with_options(configured):
    url = f"localcache://url-{configured.package}?max_entries=10&cull_frequency=2&eviction=lru&max_memory=1MB"
    cache = opened(configured(url))
    assert isinstance(cache, LocalCache)
    assert (cache.stats().max_entries, cache.stats().max_memory) == (10, MIB)


def test_local_cache_alone(configured):
    assert opened(configured("localcache://")).stats().max_memory == 64 * MIB


def test_timeout_of_none_is_as_documented(configured):
    settings = configured(f"localcache://none-{configured.package}?timeout=None")
    if configured.package == "django-environ":
        assert opened(settings).ttl("key") is None
    else:
        with pytest.raises(ImproperlyConfigured, match="TIMEOUT is 'None'"):
            opened(settings)


def test_bad_option_is_an_error(configured):
    with pytest.raises(ImproperlyConfigured, match=r"MAX_MEMORY.* is 'much'"):
        opened(configured("localcache://?max_memory=much"))
