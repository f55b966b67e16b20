"""The tests that may fail, and those that do not run, by suite and full name, each with its reason.

A run fails if a test of `EXPECTED_FAILURES` passes, or one that is named here no longer exists: so no name
outlives its reason.
"""

_NO_SERVER = "needs the caches of servers that do not answer, which have nothing to do with ours"
_PRIVATE = "reads LocMemCache's `_cache`"
_NETWORK = "fetches an image from the network"

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
