"""Builds a wheel for each supported Python, and the sdist, into dist/: `make wheels`.

zig links the wheels against an old glibc, so that they run on every distribution that manylinux2014 covers.
Each wheel is checked: its platform tag (with auditwheel), its size, and that it works in a new environment.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from matrix import PYTHONS, find_python
from release.commands import DIST, StepError, run, tool

PLATFORM = "manylinux2014"
MAX_MEGABYTES = 3
# Uses each backend in an environment that has only the wheel and its dependencies.
SMOKE_TEST = """
import nearcache
from django.conf import settings
settings.configure(SECRET_KEY="smoke")
from nearcache.django import LocalCache, SharedCache, TieredCache
from nearcache.django.errors import RemoteConnectionError
for cache in (LocalCache("", {}), SharedCache(%r, {"OPTIONS": {"MAX_MEMORY": "1MB"}})):
    cache.set("key", [1, "two", 3.0])
    assert cache.get("key") == [1, "two", 3.0], cache
try:
    TieredCache("rediss://127.0.0.1:1", {}).get("key")
    raise AssertionError("there is no server")
except RemoteConnectionError:
    pass
print(nearcache.__version__)
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--python", action="append", choices=PYTHONS, help="build only for this version; may be repeated"
    )
    versions = parser.parse_args().python or PYTHONS
    shutil.rmtree(DIST, ignore_errors=True)
    failures = 0
    for version in versions:
        try:
            wheel = build(version)
            print(f"{wheel.name}: {check(wheel, version)}", flush=True)
        except StepError as error:
            failures += 1
            print(f"Python {version}: {error}", flush=True)
    tool("maturin", "sdist", "--out", DIST)
    print("\n".join(f"{path.stat().st_size:>10,} {path.name}" for path in sorted(DIST.iterdir())))
    return int(failures > 0)


def build(version: str) -> Path:
    python = find_python(version)
    if python is None:
        raise StepError("the interpreter is not installed. Run: make pythons")
    with tempfile.TemporaryDirectory() as out:
        flags = ("--release", "--locked", "--zig", "--compatibility", PLATFORM)
        tool("maturin", "build", *flags, "--interpreter", python, "--out", out)
        (wheel,) = Path(out).glob("*.whl")
        DIST.mkdir(exist_ok=True)
        return Path(shutil.move(wheel, DIST / wheel.name))


def check(wheel: Path, version: str) -> str:
    """Checks a wheel and returns a summary. Raises `StepError` if it cannot be released."""
    megabytes = wheel.stat().st_size / 1e6
    if megabytes > MAX_MEGABYTES:
        raise StepError(f"{wheel.name} has {megabytes:.1f} MB; expected at most {MAX_MEGABYTES} MB")
    audit = tool("auditwheel", "show", wheel)
    if f'"{PLATFORM}' not in audit and '"manylinux_2_17' not in audit:
        raise StepError(f"{wheel.name} is not a {PLATFORM} wheel according to auditwheel:\n{audit}")
    with tempfile.TemporaryDirectory() as scratch:
        python = Path(scratch, "bin", "python")
        run(find_python(version) or "", "-m", "venv", scratch)
        run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel)
        output = run(python, "-W", "error", "-c", SMOKE_TEST % str(Path(scratch, "cache")), cwd=Path(scratch))
    return f"{megabytes:.2f} MB, {PLATFORM}, works (version {output.strip()})"


if __name__ == "__main__":
    sys.exit(main())
