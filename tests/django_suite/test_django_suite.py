"""Django's own tests of its caches, and of what is built on them, with LocalCache in LocMemCache's place.

They run as Django runs them, in a process of their own. See tests/django_suite/.
"""

import pytest

from django_suite.exceptions import EXCEPTIONS
from django_suite.run import WITHOUT_SERVER

# What to run, and how many tests of the classes that matter to us must have run for that to count.
SUITES = {
    "cache": {"cache.tests.LocMemCacheTests": 60, "cache.tests.CacheMiddlewareTest": 16},
    "sessions_tests": {
        "sessions_tests.tests.CacheSessionTests": 60,
        "sessions_tests.tests.CacheDBSessionTests": 60,
    },
    "template_tests.syntax_tests.test_cache": {
        "template_tests.syntax_tests.test_cache.CacheTagTests": 15,
        "template_tests.syntax_tests.test_cache.CacheTests": 2,
    },
}
REDIS = "cache.tests.RedisCacheTests"
LEAST_OF_REDIS = 59


@pytest.mark.parametrize("policy", WITHOUT_SERVER)
@pytest.mark.parametrize("suite", SUITES)
def test_django_suite(run, suite, policy):
    ran = run.wait()
    too_few = {name: ran.get(name, 0) for name, least in SUITES[suite].items() if ran.get(name, 0) < least}
    assert not too_few


@pytest.mark.parametrize("policy", [name for name in EXCEPTIONS if name not in WITHOUT_SERVER])
@pytest.mark.parametrize("suite", [REDIS])
def test_django_s_redis_tests(run, suite, policy):
    assert run.wait()[REDIS] >= LEAST_OF_REDIS
