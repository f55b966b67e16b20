"""Django's test runner, held to exceptions.py.

A test listed there must fail: if it passes, or is not there at all, the run fails. Tests of newer Djangos may
be missing. What ran is written to a file, for test_django_suite.py to see that a green run is not an empty
one.
"""

import json
import os
from collections import Counter
from pathlib import Path

from django.test.runner import DiscoverRunner
from django.test.utils import iter_test_cases

from django_suite.exceptions import EXCEPTIONS, NEWER
from django_suite.settings import POLICY


class Runner(DiscoverRunner):
    def build_suite(self, test_labels=None, **kwargs):
        suite = super().build_suite(test_labels, **kwargs)
        tests = {test.id(): test for test in iter_test_cases(suite)}
        listed = [name for name in EXCEPTIONS[POLICY] if name.startswith(tuple(f"{x}." for x in test_labels))]
        self.missing = [name for name in listed if name not in tests and name not in NEWER]
        for name in listed:
            if name in tests:
                # What @unittest.expectedFailure sets.
                tests[name].__unittest_expecting_failure__ = True
        self.ran = Counter(class_name(test) for test in tests.values())
        return suite

    def suite_result(self, suite, result, **kwargs):
        self.ran.subtract(class_name(test) for test, _ in result.skipped)
        Path(os.environ["NEARCACHE_SUITE_RAN"]).write_text(json.dumps(self.ran))
        for name in self.missing:
            self.log(f"{name} is listed in exceptions.py, but there is no such test")
        return super().suite_result(suite, result, **kwargs) + len(self.missing)


def class_name(test):
    return test.id().rpartition(".")[0]
