"""A run of some of Django's tests in a process of its own."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

TIMEOUT_SECONDS = 600
# The policies of LocalCache and SharedCache, and those of TieredCache.
WITHOUT_SERVER = ("lru", "default", "shared")
WITH_SERVER = ("tiered", "tiered with near copies")
# Not in parallel: Django would need one more package to report a failure's traceback.
RUN_TESTS = (sys.executable, "runtests.py", "--settings=django_suite.settings", "--parallel=1")


class Run:
    """A run of a suite, or of several, under a policy, which begins at once."""

    def __init__(self, suite, policy, django_tests, server=None):
        self._title = f"Django's {suite} with EVICTION={policy}"
        self._server = server
        self._folder = Path(tempfile.mkdtemp(prefix="nearcache-django-suite-"))
        self._ran = self._folder / "ran.json"
        python_path = [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH")]
        env = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, python_path)),
            "NEARCACHE_SUITE_POLICY": policy,
            "NEARCACHE_SUITE_RAN": str(self._ran),
            "NEARCACHE_SUITE_SERVER": server.url if server else "",
        }
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [*RUN_TESTS, *suite.split()],
                cwd=django_tests,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait(self):
        """Return how many tests of each class ran. A failure fails the test that waits."""
        if self._process.wait(TIMEOUT_SECONDS):
            log = (self._folder / "log").read_text(errors="replace")
            pytest.fail(f"{self._title}:\n{log}", pytrace=False)
        return json.loads(self._ran.read_text())

    def close(self):
        """End it, and remove its files."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._server is not None:
            self._server.close()
        shutil.rmtree(self._folder, ignore_errors=True)
