"""Checks that this checkout can be released: `make release-check`. It publishes nothing.

`--rehearsal` accepts a changelog whose section for this version has no date yet, and a work tree that is not
committed.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from release.commands import ROOT, StepError, run, tool


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rehearsal", action="store_true", help="before the release is prepared")
    rehearsal = parser.parse_args().rehearsal
    checks: list[tuple[str, Callable[[bool], str]]] = [
        ("version", check_version),
        ("changelog", check_changelog),
        ("sdist", check_sdist),
        ("crate", check_crate),
        ("compatibility", check_compatibility),
    ]
    failures = 0
    for name, check in checks:
        try:
            print(f"{name}: {check(rehearsal)}", flush=True)
        except StepError as error:
            failures += 1
            print(f"{name}: FAILED: {error}", flush=True)
    return int(failures > 0)


def version() -> str:
    packages = json.loads(run("cargo", "metadata", "--no-deps", "--format-version=1"))["packages"]
    versions = {str(package["version"]) for package in packages}
    if len(versions) != 1:
        raise StepError(f"the crates have different versions: {versions}")
    return versions.pop()


def check_version(_: bool) -> str:
    """The workspace's manifest has the version; every other place takes it from there."""
    if '\ndynamic = ["version"]\n' not in (ROOT / "pyproject.toml").read_text():
        raise StepError("pyproject.toml has a version of its own")
    return version()


def check_changelog(rehearsal: bool) -> str:
    text = (ROOT / "CHANGELOG.md").read_text()
    dated = re.search(rf"^## \[{re.escape(version())}\] - (\d{{4}}-\d\d-\d\d)$", text, re.MULTILINE)
    if dated:
        return f"{version()} is of {dated[1]}"
    if rehearsal and "## [Unreleased]" in text:
        return f"{version()} is unreleased"
    raise StepError(f"CHANGELOG.md has no section '## [{version()}] - YYYY-MM-DD'")


def check_sdist(_: bool) -> str:
    """The source package builds by itself, and the package index can show it."""
    with tempfile.TemporaryDirectory() as scratch:
        tool("maturin", "sdist", "--out", scratch)
        (sdist,) = Path(scratch).glob("*.tar.gz")
        tool("twine", "check", "--strict", sdist)
        tool("pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", scratch, sdist)
        (wheel,) = Path(scratch).glob("*.whl")
        tool("twine", "check", "--strict", wheel)
        return f"{sdist.name} builds {wheel.name}; README.md renders"


def check_crate(rehearsal: bool) -> str:
    flags = ["--allow-dirty"] if rehearsal else []
    run("cargo", "publish", "--dry-run", "--locked", "--package", "nearcache", *flags)
    return "cargo publish --dry-run passed"


def check_compatibility(_: bool) -> str:
    """No change breaks users of the last release without a new major (before 1.0: minor) version."""
    tags = run("git", "tag", "--list", "v*", "--sort=-version:refname").split()
    earlier = [tag for tag in tags if tag != f"v{version()}"]
    if not earlier:
        return "skipped: there is no earlier release to compare with"
    if shutil.which("cargo-semver-checks") is None:
        raise StepError("cargo-semver-checks is missing: cargo install --locked cargo-semver-checks")
    run("cargo", "semver-checks", "--package", "nearcache", "--baseline-rev", earlier[0])
    return f"compatible with {earlier[0]}"


if __name__ == "__main__":
    if subprocess.run(["cargo", "--version"], capture_output=True, check=False).returncode:
        sys.exit("error: cargo is missing")
    sys.exit(main())
