"""A pytest plugin that applies exceptions.py to a run and writes its counts to a file."""

import json
from collections import Counter

import pytest
from django.core.cache import caches

from packages.environment import BACKEND, FILES, SUITE
from packages.exceptions import EXPECTED_FAILURES, LEFT_OUT

COUNTS: Counter[str] = Counter()


def pytest_collection_modifyitems(items):
    """Let the expected failures fail and nothing else, and leave out what is left out."""
    may_fail = EXPECTED_FAILURES.get(SUITE, {}) | EXPECTED_FAILURES.get(f"{SUITE} with {BACKEND}", {})
    left_out = LEFT_OUT.get(SUITE, {})
    missing = (may_fail | left_out).keys() - {item.nodeid for item in items}
    if missing:
        raise pytest.UsageError(f"named in exceptions.py, but there are no such tests: {sorted(missing)}")
    if left_out:
        COUNTS["left out"] = len(left_out)
    items[:] = [item for item in items if item.nodeid not in left_out]
    for item in items:
        if item.nodeid in may_fail:
            # Strict: one that passes fails the run.
            item.add_marker(pytest.mark.xfail(reason=may_fail[item.nodeid], strict=True))


@pytest.fixture(autouse=True, scope="session")
def open_databases(django_db_setup, django_db_blocker):
    """Let plain unittest tests use the database, as they may under Django's own runner."""
    with django_db_blocker.unblock():
        yield


def pytest_runtest_logreport(report):
    """Count each test once, and none of its subtests."""
    if type(report) is not pytest.TestReport:
        return
    if report.when == "call" or (report.when == "setup" and not report.passed):
        COUNTS["xfailed" if hasattr(report, "wasxfail") else report.outcome] += 1


def pytest_sessionfinish():
    """Tell the test that started the run how many tests there were, and how often they used our cache."""
    stats = caches["default"].stats()
    report = {"counts": COUNTS, "cache_calls": stats.hits + stats.misses + stats.sets}
    (FILES / "report.json").write_text(json.dumps(report))
