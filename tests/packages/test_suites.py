"""The tests of other packages, with each of our backends as their cache."""

import json
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from threading import Lock

import pytest

from packages.environment import environment
from packages.source import PYTHON, unpack
from packages.suites import HERE, SUITES
from support.redis_servers.standalone import Server
from support.sdist import SourceError

TIMEOUT_SECONDS = 600


@pytest.fixture(scope="module")
def runs(request, tmp_path_factory):
    """Return the runs of the chosen tests by name: as many at a time as there are cores."""
    chosen = [item for item in request.session.items if item.originalname == "test_suite"]
    locks = {suite: Lock() for suite in SUITES}

    def start(suite, backend):
        # The runs of a suite use one folder, in which tests may write.
        with locks[suite]:
            return run(suite, backend, tmp_path_factory.mktemp("suite"))

    # The first backend of every suite, then the second: few runs wait for each other.
    def order(item):
        return item.callspec.params["suite"].backends.index(item.callspec.params["backend"])

    chosen.sort(key=order)
    pool = ThreadPoolExecutor(os.cpu_count())
    yield {item.name: pool.submit(start, **item.callspec.params) for item in chosen}
    pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize(
    ("suite", "backend"), [(suite, backend) for suite in SUITES for backend in suite.backends], ids=str
)
def test_suite(suite, backend, runs, request, record_counts):
    report = runs[request.node.name].result()
    record_counts(suite, backend, report["counts"])
    assert report["counts"].get("passed", 0) >= suite.least
    # A suite that takes its cache from elsewhere has shown nothing.
    assert report["cache_calls"] > 0


def run(suite, backend, files):
    """Run a suite in a process of its own; return the plugin's report."""
    with Server() if backend.startswith("TieredCache") else nullcontext() as server:
        return run_with(suite, backend, files, server.url if server else "")


def run_with(suite, backend, files, server):
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
        env=environment(suite.name, backend, files, server),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    if result.returncode:
        pytest.fail(f"the tests of {suite.package} with {backend}:\n{result.stdout}", pytrace=False)
    return json.loads(Path(files, "report.json").read_text())
