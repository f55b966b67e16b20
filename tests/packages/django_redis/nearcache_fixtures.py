"""A pytest plugin that does what django-redis's tests/conftest.py does for one cache."""

import sys
from pathlib import Path

import pytest
from django.core.cache import cache as default_cache

sys.path.insert(0, str(Path("tests").absolute()))


@pytest.fixture
def cache():
    yield default_cache
    default_cache.clear()
