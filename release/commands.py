"""Runs external commands for the release programs."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"


class StepError(Exception):
    """A step of the release failed; the message says why."""


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Runs a command and returns its output. Raises `StepError` with the output if it fails."""
    # maturin runs zig with the first Python on PATH, so this one has to be first.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    result = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=os.environ | {"PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode:
        raise StepError(f"{' '.join(map(str, command))} failed:\n{result.stdout}")
    return result.stdout


def tool(name: str, *arguments: str | Path, cwd: Path = ROOT) -> str:
    """Runs a Python tool of this environment with `python -m`, as `run` does."""
    return run(sys.executable, "-m", name, *arguments, cwd=cwd)
