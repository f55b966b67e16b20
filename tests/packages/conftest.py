"""Prints a table of the suites that ran."""

import pytest

COUNTS = []


@pytest.fixture
def record_counts(request):
    """Return a function that notes the counts of a run for the table."""

    def record(suite, backend, counts):
        COUNTS.append((suite.package, backend, counts))

    return record


def pytest_terminal_summary(terminalreporter):
    if not COUNTS:
        return
    terminalreporter.section("tests of other packages")
    for package, backend, counts in COUNTS:
        output = ", ".join(f"{number} {outcome}" for outcome, number in sorted(counts.items()))
        terminalreporter.line(f"{package:22} {backend:12} {output}")
