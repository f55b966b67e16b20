"""Runs the Python tests on each supported Python with each supported Django: `make test-matrix`.

It finds Pythons on PATH and among pyenv's and uv's (`make pythons` installs more), and prints which are
missing and skipped. 3.14t is the free-threaded 3.14. Each Python gets a wheel, each pair a virtual
environment with locked dependencies and a log, all in build/matrix/. The tests import the installed wheel,
never the source tree. The log of a pair that fails is printed. With --jobs 2, two Pythons are tested at a
time: a run waits for a third of its time, and pytest uses one core.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "matrix"

PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14", "3.15", "3.14t", "3.15t")
PYENV_VERSIONS = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
UV_VERSIONS = Path(
    os.environ.get("UV_PYTHON_INSTALL_DIR", Path.home() / ".local" / "share" / "uv" / "python")
)
# For each Django, the oldest and the newest Python that it supports.
DJANGOS = {"5.2": ("3.10", "3.14"), "6.0": ("3.12", "3.14"), "6.1": ("3.12", "3.15")}

# Prints an interpreter's version and path, if it can make virtual environments.
PROBE = """
import ensurepip, sys, sysconfig, venv
free_threaded = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
print("%d.%d" % sys.version_info[:2] + free_threaded, sys.executable)
"""


# All builds use one target directory.
BUILDING = threading.Lock()


class StepError(Exception):
    """A command failed; its output is in the log."""


@dataclass
class Outcome:
    python: str
    django: str
    result: str  # passed, failed or skipped
    detail: str


def main() -> int:
    options = parse_arguments()
    pairs = options.pair or all_pairs()
    with ThreadPoolExecutor(options.jobs) as pool:
        started = [
            pool.submit(try_python, version, djangos, options.k)
            for version in PYTHONS
            if (djangos := [django for python, django in pairs if python == version])
        ]
    outcomes = [outcome for one in started for outcome in one.result()]
    print("\nPython  Django  Result")
    for outcome in outcomes:
        print(f"{outcome.python:6}  {outcome.django:6}  {outcome.result:7}  {outcome.detail}")
    count = {x: sum(outcome.result == x for outcome in outcomes) for x in ("passed", "failed", "skipped")}
    print("\n" + ", ".join(f"{number} {result}" for result, number in count.items()))
    # A pair given by --pair must not be skipped, and at least one pair must pass.
    wanting = count["skipped"] if options.pair else 0
    return int(count["failed"] + wanting > 0 or count["passed"] == 0)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--pair", action="append", type=pair, metavar="PYTHON/DJANGO", help="only this one (may be repeated)"
    )
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="NUMBER", help="Pythons at a time (default: 1)"
    )
    parser.add_argument("-k", metavar="EXPRESSION", help="passed on to pytest")
    return parser.parse_args()


def pair(text: str) -> tuple[str, str]:
    python, _, django = text.partition("/")
    if (python, django) not in all_pairs():
        raise argparse.ArgumentTypeError(f"{text} is none of {' '.join(map('/'.join, all_pairs()))}")
    return python, django


def all_pairs() -> list[tuple[str, str]]:
    """Return the pairs that Django supports."""
    return [
        (python, django)
        for python in PYTHONS
        for django, (oldest, newest) in DJANGOS.items()
        if as_numbers(oldest) <= as_numbers(python) <= as_numbers(newest)
    ]


def try_python(version: str, djangos: list[str], expression: str | None) -> list[Outcome]:
    """Test one Python with each Django. The wheel is built when the first pair needs it."""
    python = find_python(version)
    wheel = None
    outcomes = []
    for django in djangos:
        log = BUILD / f"python{version}-django{django}.log"
        if python is None:
            result = ("skipped", f"no Python {version} with venv here (make pythons)")
        else:
            print(f"Python {version}, Django {django} ...", flush=True)
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text("")
            try:
                wheel = wheel or build_wheel(version, python, log)
                result = ("passed", run_tests(install(version, django, python, wheel, log), expression, log))
            except StepError as error:
                print(log.read_text(), flush=True)
                result = ("failed", f"{error}; see {log.relative_to(ROOT)}")
        outcomes.append(Outcome(version, django, *result))
    return outcomes


def find_python(version: str) -> str | None:
    """Return the path of an interpreter of this version that can make virtual environments."""
    # The newest release first. The probe skips builds of the other kind (3.14.0t for 3.14).
    release = version.removesuffix("t")
    releases = [*PYENV_VERSIONS.glob(f"{release}.*"), *UV_VERSIONS.glob(f"cpython-{release}.*")]
    releases.sort(key=lambda x: as_numbers(x.name), reverse=True)
    for candidate in (
        sys.executable,
        shutil.which(f"python{version}"),
        *(x / "bin" / "python3" for x in releases),
    ):
        if candidate is None or not Path(candidate).exists():
            continue
        # A pyenv shim may exist without an interpreter behind it.
        probe = subprocess.run([candidate, "-c", PROBE], capture_output=True, text=True, check=False)
        found, _, path = probe.stdout.strip().partition(" ")
        if found == version:
            return path
    return None


def as_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(digits) for digits in re.findall(r"\d+", version))


def build_wheel(version: str, python: str, log: Path) -> Path:
    out = BUILD / "wheels" / version
    shutil.rmtree(out, ignore_errors=True)
    command = [
        sys.executable,
        "-m",
        "maturin",
        "build",
        "--release",
        "--locked",
        "-i",
        python,
        "--out",
        str(out),
    ]
    with BUILDING:
        run("building the wheel", command, log)
    (wheel,) = out.glob("*.whl")
    return wheel


def install(version: str, django: str, python: str, wheel: Path, log: Path) -> str:
    """Return the interpreter of the pair's virtual environment, recreated only if it would differ."""
    venv = BUILD / f"python{version}-django{django}"
    locked = ROOT / "requirements" / "matrix" / f"django-{django}.txt"
    inside = str(venv / "bin" / "python")
    pip = [inside, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    made_from = f"{python}\n{locked.read_text()}"
    stamp = venv / "made-from.txt"
    if not stamp.exists() or stamp.read_text() != made_from:
        run("making the environment", [python, "-m", "venv", "--clear", str(venv)], log)
        run("installing dependencies", [*pip, "--require-hashes", "-r", str(locked)], log)
        stamp.write_text(made_from)
    run("installing the wheel", [*pip, "--no-deps", "--no-index", "--force-reinstall", str(wheel)], log)
    where = run("importing nearcache", [inside, "-c", "import nearcache; print(nearcache.__file__)"], log)
    if not Path(where).is_relative_to(venv):
        raise StepError(f"nearcache was imported from {where}, not from the wheel")
    return inside


def run_tests(python: str, expression: str | None, log: Path) -> str:
    """Return pytest's last line, the one with the counts."""
    command = [python, "-m", "pytest", "--quiet", "-p", "no:cacheprovider"]
    if expression is not None:
        command += ["-k", expression]
    return run("testing", command, log)


def run(step: str, command: list[str], log: Path) -> str:
    """Run a command in the root folder, log its output, and return the output's last line."""
    # PYTHONPATH could hide the wheel.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    with log.open("a") as file:
        file.write(f"$ {' '.join(command)}\n{result.stdout}")
    last = (result.stdout.strip().splitlines() or [""])[-1]
    if result.returncode:
        raise StepError(f"{step} failed: {textwrap.shorten(last, 60)}")
    return last


if __name__ == "__main__":
    sys.exit(main())
