"""Django's own tests of its caches, and of what is built on them, with LocalCache in LocMemCache's place.

They run as Django runs them, in a process of their own. See tests/django_suite/.
"""

import pytest

from django_suite import patched
from django_suite.run import WITH_SERVER, WITHOUT_SERVER

# What to run, and how many tests of the classes that matter to us must have run for that to count.
SUITES = {
    "cache": {"cache.tests.LocMemCacheTests": 60, "cache.tests.CacheMiddlewareTest": 16},
    "template_tests.test_response": {"template_tests.test_response.CacheMiddlewareTest": 1},
    "sessions_tests": {
        "sessions_tests.tests.CacheSessionTests": 60,
        "sessions_tests.tests.CacheDBSessionTests": 60,
    },
    "template_tests.syntax_tests.test_cache": {
        "template_tests.syntax_tests.test_cache.CacheTagTests": 15,
        "template_tests.syntax_tests.test_cache.CacheTests": 2,
    },
}
# The tests with this in their names, which store values in a LocalCache instead of pickling them.
PICKLING = " ".join([*patched.PICKLING, "-k", "pickl"])
LEAST_OF_PICKLING = 65
REDIS = "cache.tests.RedisCacheTests"
LEAST_OF_REDIS = 59


@pytest.mark.parametrize("policy", WITHOUT_SERVER)
@pytest.mark.parametrize("suite", SUITES)
def test_django_suite(run, suite, policy):
    ran = run.wait()
    too_few = {name: ran.get(name, 0) for name, least in SUITES[suite].items() if ran.get(name, 0) < least}
    assert not too_few


@pytest.mark.parametrize("policy", WITH_SERVER)
@pytest.mark.parametrize("suite", [REDIS])
def test_django_s_redis_tests(run, suite, policy):
    assert run.wait()[REDIS] >= LEAST_OF_REDIS


@pytest.mark.parametrize("policy", ["pickling"])
@pytest.mark.parametrize("suite", [PICKLING], ids=["all"])
def test_django_s_tests_of_pickling(run, suite, policy):
    assert sum(run.wait().values()) >= LEAST_OF_PICKLING
