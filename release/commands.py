"""How the release's programs run their steps, and what they say of them."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"


class StepError(Exception):
    """Something a release has to have is wrong; the message says what."""


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Run a command and return its output. Raises `StepError` with the output if it fails."""
    # maturin looks for zig by way of the Python that is first on PATH.
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
    """Run a tool of this environment as `python -m`."""
    return run(sys.executable, "-m", name, *arguments, cwd=cwd)
