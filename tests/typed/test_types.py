"""mypy and pyright report the expected errors in project.py, and no others."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.tools import TOOLS

ROOT = Path(__file__).resolve().parents[2]
PROJECT = ROOT / "tests" / "typed" / "project.py"
PACKAGE = ROOT / "python"


def expected_errors():
    lines = PROJECT.read_text().splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith("# error")}


def check(*command, **environment):
    """Run a type checker; return its output."""
    result = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode in (0, 1), result.stderr
    return result.stdout


def test_project_has_expected_errors():
    assert len(expected_errors()) == 25


def test_mypy_finds_these_errors_and_no_others(tmp_path):
    pytest.importorskip("mypy")
    pytest.importorskip("mypy_django_plugin", reason="django-stubs is not installed")
    # The types are the oldest supported Python's.
    options = ["--strict", "--config-file=", "--python-version=3.10", f"--cache-dir={tmp_path}"]
    output = check("mypy", *options, str(PROJECT), MYPYPATH=str(PACKAGE))
    found = {int(line) for line in re.findall(r"project\.py:(\d+): error", output)}
    assert found == expected_errors(), output


@pytest.mark.skipif(not TOOLS.is_dir(), reason="pyright is not installed: make test-tools")
def test_pyright_finds_these_errors_and_no_others(tmp_path):
    settings = {
        "include": ["."],
        "extraPaths": [str(PACKAGE)],
        "pythonVersion": "3.10",
        "reportUnusedExpression": False,
    }
    shutil.copy(PROJECT, tmp_path)
    configuration = tmp_path / "pyrightconfig.json"
    configuration.write_text(json.dumps(settings))
    output = check(
        *("pyright", "--outputjson", "--project", str(configuration), "--pythonpath", sys.executable),
        PYTHONPATH=str(TOOLS),
    )
    errors = [one for one in json.loads(output)["generalDiagnostics"] if one["severity"] == "error"]
    found = {one["range"]["start"]["line"] + 1 for one in errors}
    assert found == expected_errors(), output
