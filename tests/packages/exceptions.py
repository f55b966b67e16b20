"""The tests that may fail, and those that do not run, by suite and full name, each with its reason.

"django_redis with LocalCache" means a suite with one backend.

A run fails if a test of `EXPECTED_FAILURES` passes, or one that is named here no longer exists: so no name
outlives its reason.
"""

_NO_SERVER = "needs the caches of servers that do not answer, which have nothing to do with ours"
_PRIVATE = "reads LocMemCache's `_cache`"
_NETWORK = "fetches an image from the network"

_CLIENT = "asks or replaces django-redis's client, which has nothing to do with ours"
_DATA_TYPE = "no sets, hashes or sorted sets of Redis"
_IGNORED = "IGNORE_EXCEPTIONS is named ON_ERROR here"

_REDIS_BACKEND = "tests/test_backend.py::TestDjangoRedisCache::test_"
_REDIS_OPTIONS = "tests/test_cache_options.py::test_"
_REDIS_SETS = (
    *("sadd", "scard", "sdiff", "sdiffstore", "sdiffstore_with_keys_version", "sinter", "interstore"),
    "sdiffstore_with_different_keys_versions_without_initial_set_in_version",
    "sdiffstore_with_different_keys_versions_with_initial_set_in_version",
    *("sismember", "smismember", "smove", "spop", "spop_default_count", "srandmember", "srem"),
    *("srandmember_default_count", "sscan", "sscan_with_match", "sscan_iter", "sscan_iter_with_match"),
    *("sunion", "sunionstore"),
)
_REDIS_HASHES = ("hset", "hdel", "hlen", "hkeys", "hexists", "hash_version_support")

EXPECTED_FAILURES = {
    "axes": {
        "tests/test_login.py::CacheLoginTestCase::test_reset_on_success_false": _PRIVATE,
        "tests/test_login.py::CacheLoginTestCase::test_reset_on_success_true": _PRIVATE,
    },
    "cachalot": {
        "cachalot/tests/__init__.py::SettingsTestCase::test_database_compatibility": (
            "expects no cachalot.W001, which warns of every cache backend that cachalot does not know by name"
        ),
    },
    "django_redis": {
        **{_REDIS_BACKEND + name: _DATA_TYPE for name in (*_REDIS_SETS, *_REDIS_HASHES)},
        **{
            _REDIS_BACKEND + name: _CLIENT
            for name in (
                "set_call_empty_pipeline",
                "delete_pattern_with_custom_count",
                "delete_pattern_with_settings_default_scan_count",
                "close_client",
                "close_with_signal_parameter",
                "primary_replica_switching",
                "primary_replica_switching_with_index",
                "hash_key_structure_in_redis",
            )
        },
        **{
            _REDIS_BACKEND + name: "delete_many() returns None, as Django's own tests expect"
            for name in ("delete_many", "delete_many_generator")
        },
        **{
            f"{_REDIS_OPTIONS}get_django_omit_exceptions{name}": _IGNORED
            for name in ("", "_many_returns_default_arg", "_priority_1", "_priority_2")
        },
    },
    "django_redis with TieredCache": {
        _REDIS_BACKEND + name: "the server adds numbers of 64 bits; Django's RedisCache has the same error"
        for name in ("incr", "incr_no_timeout", "incr_ignore_check", "decr")
    },
    "django_redis with LocalCache": {
        f"{_REDIS_OPTIONS}custom_key_function": "reads the keys from a server",
    },
    "ratelimit": {
        f"django_ratelimit/tests.py::CacheFailTests::test_{name}": _NO_SERVER
        for name in (
            "fail_open_setting",
            "is_ratelimited_cache_connection_error_with_increment",
            "is_ratelimited_cache_connection_error_with_increment_redis",
            "is_ratelimited_cache_connection_error_without_increment",
            "limit_on_cache_connection_error",
        )
    },
}

# What fails with every cache, LocMemCache included.
LEFT_OUT = {
    "sorl": {
        "tests/thumbnail_tests/test_engines.py::SimpleTestCase::test_image_file_deserialize": (
            "reads a thumbnail that the test before it has deleted"
        ),
        "tests/thumbnail_tests/test_templatetags.py::TemplateTestCaseB::test_portrait": _NETWORK,
        "tests/thumbnail_tests/test_templatetags.py::TemplateTestCaseB::test_url": _NETWORK,
    },
    "waffle": {
        "waffle/tests/test_waffle.py::WaffleTests::test_pluggable_flag_model": (
            "overrides AUTH_USER_MODEL, after which Django finds no relations of auth.User"
        ),
    },
}
