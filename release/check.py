"""Checks whether this checkout can be released: `make release-check`. Publishes nothing.

`--rehearsal` accepts a changelog without a dated section for this version, and uncommitted changes.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from release.commands import ROOT, StepError, run, tool


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--rehearsal", action="store_true", help="accept an undated changelog and uncommitted changes"
    )
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
    """Returns the version of the workspace. Raises `StepError` if its crates have different ones."""
    packages = json.loads(run("cargo", "metadata", "--no-deps", "--format-version=1"))["packages"]
    versions = {str(package["version"]) for package in packages}
    if len(versions) != 1:
        raise StepError(f"the crates have the versions {', '.join(sorted(versions))}; expected one version")
    return versions.pop()


def check_version(_: bool) -> str:
    """Checks that Cargo.toml is the only place with the version, and returns the version."""
    if '\ndynamic = ["version"]\n' not in (ROOT / "pyproject.toml").read_text():
        raise StepError('pyproject.toml has a version; expected dynamic = ["version"]')
    return version()


def check_changelog(rehearsal: bool) -> str:
    """Checks that the changelog has a dated section for the version."""
    text = (ROOT / "CHANGELOG.md").read_text()
    dated = re.search(rf"^## \[{re.escape(version())}\] - (\d{{4}}-\d\d-\d\d)$", text, re.MULTILINE)
    if dated:
        return f"{version()} is dated {dated[1]}"
    if rehearsal and "## [Unreleased]" in text:
        return f"{version()} is unreleased"
    raise StepError(f"CHANGELOG.md has no section '## [{version()}] - YYYY-MM-DD'")


def check_sdist(_: bool) -> str:
    """Checks that the sdist builds a wheel outside of the repository, and that PyPI can render README.md.

    Its Cargo.lock has to be complete, so that it can also be built with --locked.
    """
    with tempfile.TemporaryDirectory() as scratch:
        tool("maturin", "sdist", "--out", scratch)
        (sdist,) = Path(scratch).glob("*.tar.gz")
        tool("twine", "check", "--strict", sdist)
        with tarfile.open(sdist) as archive:
            archive.extractall(scratch, filter="data")
        (unpacked,) = (path for path in Path(scratch).iterdir() if path.is_dir())
        run("cargo", "metadata", "--locked", "--format-version=1", cwd=unpacked)
        tool("pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", scratch, sdist)
        (wheel,) = Path(scratch).glob("*.whl")
        tool("twine", "check", "--strict", wheel)
        return f"{sdist.name} builds {wheel.name}; README.md renders"


def check_crate(rehearsal: bool) -> str:
    """Checks that crates.io would accept the crate."""
    flags = ["--allow-dirty"] if rehearsal else []
    run("cargo", "publish", "--dry-run", "--locked", "--package", "nearcache", *flags)
    return "cargo publish --dry-run passed"


def check_compatibility(_: bool) -> str:
    """Checks that the API of the crate is compatible with the last release (semantic versioning)."""
    tags = run("git", "tag", "--list", "v*", "--sort=-version:refname").split()
    earlier = [tag for tag in tags if tag != f"v{version()}"]
    if not earlier:
        return "skipped: there is no earlier release"
    if shutil.which("cargo-semver-checks") is None:
        raise StepError(
            "cargo-semver-checks is not installed. Run: cargo install --locked cargo-semver-checks"
        )
    run("cargo", "semver-checks", "--package", "nearcache", "--baseline-rev", earlier[0])
    return f"compatible with {earlier[0]}"


if __name__ == "__main__":
    if subprocess.run(["cargo", "--version"], capture_output=True, check=False).returncode:
        sys.exit("error: cargo is not installed; get it from https://rustup.rs")
    sys.exit(main())
