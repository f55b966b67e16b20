"""Time the same cache operations on Django's backends, nearcache and other Python caches.

Run as `make compare` or `python -m benchmarks.compare`. A rival that lacks its library or
server is skipped.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from .chart import svg
from .race import Race, chosen
from .report import markdown_text, text
from .results import Results
from .rivals import BASELINE, RIVALS

ROOT = Path(__file__).resolve().parent.parent
JSON, SVG = Path("docs/compare.json"), Path("docs/compare.svg")  # below the root

REPEATS, BURST_MS = 25, 30.0
QUICK_REPEATS, QUICK_BURST_MS = 5, 10.0


def names(value: str) -> list[str]:
    """Return the rivals in a comma-separated list, for argparse."""
    given = [name.strip() for name in value.split(",") if name.strip()]
    unknown = [name for name in given if name not in RIVALS]
    if unknown or not given:
        problem = f"unknown rival {unknown[0]!r}" if unknown else "no rival named"
        raise argparse.ArgumentTypeError(f"{problem}; choose from {', '.join(RIVALS)}")
    return given


def positive(value: str) -> int:
    """Return a whole number above zero, for argparse."""
    if not value.isdecimal() or int(value) == 0:
        raise argparse.ArgumentTypeError(f"{value!r} is not a whole number above zero")
    return int(value)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the command line, parsed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only",
        type=names,
        default=list(RIVALS),
        metavar="RIVAL,...",
        help=f"time these and {BASELINE}, the baseline: {', '.join(RIVALS)}",
    )
    parser.add_argument(
        "--quick", action="store_true", help="fewer and shorter bursts: about a minute, rougher numbers"
    )
    parser.add_argument(
        "--repeats", type=positive, metavar="N", help=f"bursts per operation (default {REPEATS})"
    )
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    parser.add_argument("--json", type=Path, metavar="PATH", help=f"write the numbers here (default {JSON})")
    parser.add_argument("--svg", type=Path, metavar="PATH", help=f"write the chart here (default {SVG})")
    parser.add_argument("--no-write", action="store_true", help="write neither")
    parser.epilog = (
        "A --quick or --only run leaves the default files alone: it writes where --json and --svg say."
    )
    return parser.parse_args(argv)


def progress(words: str) -> None:
    """Show on a terminal, in one line that is overwritten, what is being done."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{words}", end="", file=sys.stderr, flush=True)


def warn(words: str) -> None:
    """Say what did not go as planned."""
    progress("")
    print(words, file=sys.stderr, flush=True)


def write(options: argparse.Namespace, results: Results) -> None:
    """Write the JSON and the chart."""
    if options.no_write:
        return
    partial = options.quick or len(options.only) < len(RIVALS)
    outputs = (
        (options.json, JSON, json.dumps(results.as_json(), indent=2) + "\n"),
        (options.svg, SVG, svg(results)),
    )
    for given, default, content in outputs:
        if given is None and partial:
            continue
        path = given or ROOT / default
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        print(f"wrote {given or default}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Compare, print, write; return the exit status."""
    options = arguments(argv)
    repeats = options.repeats or (QUICK_REPEATS if options.quick else REPEATS)
    results = Results(repeats, QUICK_BURST_MS if options.quick else BURST_MS)
    try:
        race = Race(chosen([BASELINE, *options.only]), results, warn)
        race.run(repeats, results.burst_ms, progress)
    except KeyboardInterrupt:
        warn("interrupted")
        return 130
    if BASELINE not in results.timings:
        return 1  # without it there is nothing to compare with; why has been said
    print(markdown_text(results) if options.markdown else text(results))
    write(options, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
