"""The tests of other packages, with each of our backends as their cache."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from packages.environment import BACKENDS, environment
from packages.source import PYTHON, unpack
from packages.suites import HERE, SUITES
from support.sdist import SourceError

TIMEOUT_SECONDS = 600


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("suite", SUITES, ids=str)
def test_suite(suite, backend, tmp_path, record_counts):
    report = run(suite, backend, tmp_path)
    record_counts(suite, backend, report["counts"])
    assert report["counts"].get("passed", 0) >= suite.least
    # A suite that takes its cache from elsewhere has shown nothing.
    assert report["cache_calls"] > 0


def run(suite, backend, files):
    """Run a suite in a process of its own; return the plugin's report."""
    try:
        source = unpack(suite.package)
    except SourceError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None
    # Without the package's own configuration of pytest, which asks for coverage and other plugins.
    ini = files / "pytest.ini"
    ini.write_text("[pytest]\n")
    command = [str(PYTHON), "-m", "pytest", "--quiet", "--tb=short", f"-c={ini}", f"--rootdir={source}"]
    command += ["-p", "no:cacheprovider", "-p", "packages.plugin"]
    if suite.has_settings:
        command += ["--ds=nearcache_settings"]
    else:
        command += ["-p", "nearcache_caches"]
    # Where they are, pytest would import tests/conftest.py, which needs the checkout's environment.
    ours = [shutil.copy(HERE / suite.name / name, files) for name in suite.ours]
    result = subprocess.run(
        [*command, *suite.arguments, *ours],
        cwd=source,
        env=environment(suite.name, backend, files),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    if result.returncode:
        pytest.fail(f"the tests of {suite.package} with {backend}:\n{result.stdout}", pytrace=False)
    return json.loads(Path(files, "report.json").read_text())
