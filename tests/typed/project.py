"""Code of a project that uses our caches, for the type checkers that test_types.py runs.

Type checkers must report an error in each line that ends with `# error`, and no other.
"""

from collections.abc import AsyncIterator
from typing import Any

from django.core.cache import caches as django_caches
from django.core.cache.backends.base import BaseCache
from typing_extensions import assert_type

from nearcache import Stats
from nearcache.django import (
    AsyncLock,
    LocalCache,
    Lock,
    SharedCache,
    TieredCache,
    Verification,
    cache,
    cached,
    caches,
    traced,
)
from nearcache.django.backend import Backend
from nearcache.django.errors import RemoteConnectionError, RemoteError

assert_type(cache, Backend)
assert_type(caches["default"], Backend)
assert_type(caches.all(), list[Backend])

assert_type(cache.get("key"), Any)
assert_type(cache.set("key", 1, nx=True), bool)
assert_type(cache.add("key", 1, timeout=None), bool)
assert_type(cache.get_or_set("key", lambda: 1, 60, stale=300, refresh="background", store_if=bool), Any)
assert_type(cache.get_or_set_many(["a"], lambda keys: dict.fromkeys(keys, 1), jitter=0.1), dict[str, Any])
assert_type(cache.ttl("key"), int | None)
assert_type(cache.keys("user:*"), list[str])
assert_type(cache.delete_pattern("user:*", prefix="other"), int)
assert_type(cache.lock("key", timeout=30), Lock)
assert_type(cache.alock("key"), AsyncLock)
assert_type(caches["default"].stats(), Stats)
assert_type(caches["default"].stats().hits, int)
assert_type(cache.incr("key", ignore_key_check=True), Any)
assert_type(cache.aiter_keys("*"), AsyncIterator[str])
cache.set("key", 1)
cache.set("key", 1, 60, version=2)
with cache.lock("key") as lock:
    assert_type(lock.owned(), bool)

# Methods that only one kind has need to know the kind.
shared = caches["shared"]
if isinstance(shared, SharedCache):
    assert_type(shared.verify(), Verification)

# Every cache takes `fresh`, which has an effect in a TieredCache.
tiered = caches["tiered"]
assert_type(tiered, Backend)
assert_type(tiered.get("key", fresh=True), Any)
if isinstance(tiered, TieredCache):
    assert_type(tiered.stats(), Stats)
    assert_type(tiered.ttl("key"), int | None)
    assert_type(tiered.set("key", 1, xx=True), bool)
    assert_type(tiered.lock("key"), Lock)
    assert_type(tiered.keys("*"), list[str])
remote = tiered.stats().remote
if remote is not None:
    assert_type(remote.near_hits, int)
    assert_type(remote.near_open, bool)
    assert_type(remote.near_problem, str | None)
    assert_type(remote.confirmation_age, float | None)
unreachable: type[RemoteError] = RemoteConnectionError


async def use() -> None:
    assert_type(await cache.aget("key"), Any)
    assert_type(await cache.aget_or_set("key", lambda: 1, early=1, lock_timeout=5), Any)
    assert_type(await cache.aget_or_set_many([1], lambda keys: {}, distributed=True), dict[int, Any])
    assert_type(await cache.attl("key"), int | None)
    assert_type(await caches["default"].akeys("*"), list[str])
    async with cache.alock("key") as held:
        assert_type(await held.owned(), bool)
    await caches["tiered"].aget("key", 5, fresh="yes")  # error
    cache_with_tiers = traced.TieredCache("redis://localhost", {})
    assert_type(await cache_with_tiers.aget("key", fresh=True), Any)
    assert_type(await cache_with_tiers.aset("key", 1), bool | None)
    assert_type(await cache_with_tiers.aincr("key"), Any)
    assert_type(await cache_with_tiers.attl("key"), int | None)
    assert_type(await cache_with_tiers.aget_many(["key"]), dict[Any, Any])


# Ours pass for Django's, and another backend's alias is for Django's handler.
def takes_any(cache: BaseCache) -> None: ...


takes_any(cache)
takes_any(caches["default"])
assert_type(django_caches["redis"], BaseCache)
local: LocalCache = traced.LocalCache("name", {})
takes_any(local)
takes_any(tiered)
first: TieredCache = traced.TieredCache("redis://localhost", {})

cache.nonsense()  # error
cache.ttl()  # error
cache.keys(5)  # error
cache.lock("key", nonsense=1)  # error
cache.set("key", 1, nx="yes")  # error
cache.verify()  # error
caches[5]  # error
print(caches["default"].stats().nonsense)  # error
stored: str = cache.ttl("key")  # error
django_caches["redis"].ttl("key")  # error
print(tiered.stats().remote.near_hits)  # error
tiered.get("key", fresh=1)  # error


# A cached function has the parameters and the result of the function, and so do its methods.
@cached(timeout=60, key="user:{user_id}", stale=300, refresh="background", store_if=lambda value: True)
def feed(user_id: int, *, page: int = 1) -> list[str]:
    return [str(user_id)]


@cached
async def profile(user_id: int) -> str:
    return str(user_id)


class Shop:
    @cached
    def price(self, item: str) -> float:
        return 1.5

    @cached(timeout=60)
    async def stock(self, item: str) -> int:
        return 1

    @cached
    @classmethod
    def cached_class(cls, item: str) -> bytes:
        return b""

    @classmethod
    @cached(timeout=60)
    def class_cached(cls, item: str) -> bytes:
        return b""

    @cached
    @staticmethod
    def cached_static(item: str) -> int:
        return 1

    @staticmethod
    @cached()
    def static_cached(item: str) -> int:
        return 1


assert_type(feed(5, page=2), list[str])
assert_type(feed.key(5), str)
assert_type(feed.invalidate(5), bool)
assert_type(feed.refresh(5), list[str])
assert_type(feed.uncached(5), list[str])
assert_type(Shop().price("tea"), float)
assert_type(Shop().price.key(item="tea"), str)
assert_type(Shop().price.invalidate("tea"), bool)
assert_type(Shop().price.refresh("tea"), float)
assert_type(Shop.price(Shop(), "tea"), float)
assert_type(Shop.cached_class("tea"), bytes)
assert_type(Shop().cached_class("tea"), bytes)
assert_type(Shop.cached_class.invalidate("tea"), bool)
assert_type(Shop.class_cached("tea"), bytes)
assert_type(Shop.cached_static("tea"), int)
assert_type(Shop.cached_static.key("tea"), str)
assert_type(Shop.static_cached("tea"), int)


async def use_cached() -> None:
    assert_type(await profile(5), str)
    assert_type(await profile.refresh(5), str)
    assert_type(await profile.invalidate(5), bool)
    assert_type(profile.key(5), str)
    assert_type(await Shop().stock("tea"), int)
    assert_type(await Shop().stock.invalidate("tea"), bool)


feed("5")  # error
feed.key()  # error
feed.invalidate(5, size=2)  # error
text: str = feed(5)  # error
Shop().price(5)  # error
Shop().price.refresh()  # error
Shop.cached_class(5)  # error
Shop.cached_static.key(5)  # error
cached(stal=5)  # error
cached(stale="5")  # error
cached(refresh="thread")  # error
cached(60)  # error
