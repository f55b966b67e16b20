"""django-health-check's check of a cache. Its source packages have no tests."""

import asyncio

from django.core.cache import caches
from django.test import AsyncClient
from health_check import Cache


def ask(path):
    return asyncio.run(AsyncClient().get(path, query_params={"format": "json"}))


def test_caches_are_found_healthy():
    response = ask("/health/")
    assert response.status_code == 200
    assert list(response.json().values()) == ["OK", "OK"]


def test_alias_that_does_not_exist_is_found_broken():
    response = ask("/health/broken/")
    assert response.status_code == 500
    assert sorted(response.json().values())[:2] == ["OK", "OK"]
    assert "does not exist" in sorted(response.json().values())[2]


def test_cache_that_loses_its_entry_is_found_broken(monkeypatch):
    async def lose(*args, **kwargs):
        return None

    monkeypatch.setattr(caches["default"], "aset", lose)
    result = asyncio.run(check_in_this_context(Cache()))
    assert "does not match" in str(result.error)


async def check_in_this_context(check):
    return await check.get_result(None)


def test_probe_leaves_its_key_to_expire():
    caches["default"].clear()
    asyncio.run(check_in_this_context(Cache()))
    (key,) = caches["default"].keys("djangohealthcheck_test:*")
    assert 0 < caches["default"].ttl(key) <= 5
