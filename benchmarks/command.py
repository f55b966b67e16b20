"""What the commands have in common: arguments, progress, and the files that they write."""

import argparse
import sys
from collections.abc import Callable, Collection
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

Progress = Callable[[str], None]


def names_in(known: Collection[str], what: str) -> Callable[[str], list[str]]:
    """Return a parser, for argparse, of comma-separated names of known things."""

    def names(value: str) -> list[str]:
        given = [name.strip() for name in value.split(",") if name.strip()]
        unknown = [name for name in given if name not in known]
        if unknown or not given:
            problem = f"unknown {what} {unknown[0]!r}" if unknown else f"no {what} named"
            raise argparse.ArgumentTypeError(f"{problem}; choose from {', '.join(known)}")
        return given

    return names


def positive(value: str) -> int:
    """Return a whole number above zero, for argparse."""
    if not value.isdecimal() or int(value) == 0:
        raise argparse.ArgumentTypeError(f"{value!r} is not a whole number above zero")
    return int(value)


def progress(words: str) -> None:
    """Show the progress on a terminal, in one line that is overwritten."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{words}", end="", file=sys.stderr, flush=True)


def warn(words: str) -> None:
    """Print a warning."""
    progress("")
    print(words, file=sys.stderr, flush=True)


def write_output(given: Path | None, default: Path, content: str, *, partial: bool) -> None:
    """Write a file where the user says, else at its default below the root unless the run is partial."""
    if given is None and partial:
        return
    path = given or ROOT / default
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    print(f"wrote {given or default}", file=sys.stderr)
