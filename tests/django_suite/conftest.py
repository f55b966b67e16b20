"""Starts all runs of Django's tests before the first test of ours.

They sleep nearly all the time, so that they cost little while other tests run, and have ended when
test_django_suite.py waits for them.
"""

from pathlib import Path

import pytest

from django_suite import patched
from django_suite.run import WITH_SERVER, Run
from support.redis_servers.standalone import Server
from support.sdist import SourceError

RUNS = {}


def pytest_collection_finish(session):
    chosen = [item for item in session.items if item.path.parent == Path(__file__).parent]
    if not chosen or session.config.option.collectonly:
        return
    try:
        django_tests = patched.prepare()
    except SourceError as error:
        # That is a failure of these tests, not a skip, and not the end of the others.
        RUNS.update({item.nodeid: error for item in chosen})
        return
    for item in chosen:
        suite, policy = item.callspec.params["suite"], item.callspec.params["policy"]
        server = Server() if policy in WITH_SERVER else None
        RUNS[item.nodeid] = Run(suite, policy, django_tests, server)


@pytest.fixture
def run(request):
    """Return the test's `Run`."""
    found = RUNS[request.node.nodeid]
    if isinstance(found, SourceError):
        pytest.fail(str(found), pytrace=False)
    return found


def pytest_sessionfinish():
    for one in RUNS.values():
        if isinstance(one, Run):
            one.close()
    RUNS.clear()
