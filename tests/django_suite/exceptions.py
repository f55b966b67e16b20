"""The tests of Django's that our caches may fail, by full name, each with its reason.

A run fails if one of these passes or no longer exists, so the list can't outlive its reasons.
It is the same for every Django in source.py.
"""

PRIVATE = {
    "cache.tests.LocMemCacheTests.test_locking_on_pickle": "reads LocMemCache's `_lock`",
    "cache.tests.LocMemCacheTests.test_incr_decr_timeout": "reads LocMemCache's `_expire_info`",
    "cache.tests.DefaultNonExpiringCacheKeyTests.test_caches_with_unset_timeout_set_expiring_key": (
        "reads LocMemCache's `_expire_info`"
    ),
    "cache.tests.DefaultNonExpiringCacheKeyTests.test_caches_set_with_timeout_as_none_set_non_expiring_key": (
        "reads LocMemCache's `_expire_info`"
    ),
}

# What LocMemCache evicts, and when, is what EVICTION="lru" is for; the default policy evicts better victims.
LRU_ONLY = {
    "cache.tests.LocMemCacheTests.test_cull": "a third of the entries goes at once",
    "cache.tests.LocMemCacheTests.test_lru_get": "get() makes an entry the last to be evicted",
    "cache.tests.LocMemCacheTests.test_lru_set": "set() makes an entry the last to be evicted",
    "cache.tests.LocMemCacheTests.test_lru_incr": "incr() makes an entry the last to be evicted",
}

# Its bound is the file's size.
SHARED = {"cache.tests.LocMemCacheTests.test_zero_cull": "MAX_ENTRIES and CULL_FREQUENCY have no effect"}

# What is private to Django's RedisCache, or named after redis-py.
REDIS = {
    "cache.tests.RedisCacheTests.test_cache_client_class": "reads RedisCache's `_class`",
    "cache.tests.RedisCacheTests.test_client_driver_info": "reads RedisCache's `_cache`",
    "cache.tests.RedisCacheTests.test_get_client": "reads RedisCache's `_cache`",
    "cache.tests.RedisCacheTests.test_get_connection_pool": "reads RedisCache's `_cache`",
    "cache.tests.RedisCacheTests.test_get_connection_pool_index": "reads RedisCache's `_cache`",
    "cache.tests.RedisCacheTests.test_incr_write_connection": ("replaces a method of RedisCacheClient"),
    "cache.tests.RedisCacheTests.test_redis_pool_options": (
        "gives an option of redis-py, `retry_on_timeout`"
    ),
    "cache.tests.RedisCacheTests.test_serializer_dumps": "reads RedisCache's `_cache`",
    "cache.tests.RedisCacheTests.test_get_backend_timeout_method": (
        "get_backend_timeout() returns a point in time, as BaseCache's does"
    ),
}

# Django's aget_or_set() compares the `__func__` of get_or_set(), and so does this test. Ours has none, as
# it is a C method, for speed; our aget_or_set() does not need it. In nearcache.django.traced, it has one.
_SPECIALIZED = "test_get_or_set_async_uses_specialized_implementation"
LOCMEM_C = {f"cache.tests.LocMemCacheTests.{_SPECIALIZED}": "reads `get_or_set.__func__`"}
REDIS_C = {f"cache.tests.RedisCacheTests.{_SPECIALIZED}": "reads `get_or_set.__func__`"}

# Tests that not every supported Django has.
NEWER = {"cache.tests.RedisCacheTests.test_client_driver_info", *LOCMEM_C, *REDIS_C}

EXCEPTIONS = {
    "lru": PRIVATE | LOCMEM_C,
    "default": PRIVATE | LRU_ONLY | LOCMEM_C,
    "shared": PRIVATE | LRU_ONLY | SHARED | LOCMEM_C,
    "tiered": REDIS | REDIS_C,
    "tiered with near copies": REDIS | REDIS_C,
    "pickling": {},
}
