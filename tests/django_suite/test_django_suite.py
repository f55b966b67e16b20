"""Django's own tests of its caches, and of what is built on them, with LocalCache in LocMemCache's place.

They run as Django runs them, in a process of their own. See tests/django_suite/.
"""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from django_suite import patched
from support.redis_servers.standalone import Server
from support.sdist import SourceError

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
# Those of LocalCache and SharedCache; the others are for TieredCache.
POLICIES = ("lru", "default", "shared")
REDIS_POLICIES = ("tiered", "tiered with near copies")
PICKLING = "pickling"
# The tests with this in their names, which store values in a LocalCache instead of pickling them.
PICKLING_NAMES = "pickl"
LEAST_OF_PICKLING = 65
REDIS = "cache.tests.RedisCacheTests"
LEAST_OF_REDIS = 59
TIMEOUT_SECONDS = 600


@pytest.fixture(scope="module")
def django_tests():
    """The patched copy's folder. If it can't be had, that is a failure, not a skip."""
    try:
        return patched.prepare()
    except SourceError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None


@pytest.fixture(scope="module", params=SUITES)
def runs(request, django_tests, tmp_path_factory):
    """A suite, and its run under each policy: side by side, since they sleep nearly all the time."""
    folder = tmp_path_factory.mktemp("ran")
    with ThreadPoolExecutor() as pool:
        futures = {
            policy: pool.submit(run, request.param, policy, django_tests, folder / f"{policy}.json")
            for policy in POLICIES
        }
    return request.param, futures


def run(suite, policy, folder, ran, *arguments, server=""):
    """Run suites under Django's runtests.py; return how many tests of each class ran."""
    python_path = [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH")]
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, python_path)),
        "NEARCACHE_SUITE_POLICY": policy,
        "NEARCACHE_SUITE_RAN": str(ran),
        "NEARCACHE_SUITE_SERVER": server,
    }
    # Not in parallel: that way Django can't report a failure's traceback without one more package.
    command = [sys.executable, "runtests.py", "--settings=django_suite.settings", "--parallel=1"]
    result = subprocess.run(
        [*command, suite, *arguments],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    if result.returncode:
        pytest.fail(f"Django's {suite} with EVICTION={policy}:\n{result.stdout}", pytrace=False)
    return json.loads(ran.read_text())


@pytest.mark.parametrize("policy", POLICIES)
def test_django_suite(runs, policy):
    suite, futures = runs
    ran = futures[policy].result()
    too_few = {name: ran.get(name, 0) for name, least in SUITES[suite].items() if ran.get(name, 0) < least}
    assert not too_few


@pytest.mark.parametrize("policy", REDIS_POLICIES)
def test_django_s_redis_tests(django_tests, tmp_path, policy):
    with Server() as server:
        ran = run(REDIS, policy, django_tests, tmp_path / "ran.json", server=server.url)
    assert ran[REDIS] >= LEAST_OF_REDIS


def test_django_s_tests_of_pickling(django_tests, tmp_path):
    first, *others = patched.PICKLING
    arguments = [*others, "-k", PICKLING_NAMES]
    ran = run(first, PICKLING, django_tests, tmp_path / "ran.json", *arguments)
    assert sum(ran.values()) >= LEAST_OF_PICKLING
