"""Run the load test: `make stampede`, or `python -m benchmarks.stampede`.

A cache whose library or server is missing is skipped. Each of the others takes its time in turn, since all
of them need the whole machine.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from ..command import names_in, positive, progress, warn, write_output
from ..servers import UnavailableError
from . import chart, report
from .contenders import CHECKED, CONTENDERS
from .outcome import Outcome
from .trial import TrialError, run

JSON, SVG = Path("docs/stampede.json"), Path("docs/stampede.svg")  # below the root
SECONDS, CHECK_SECONDS = 20, 4


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the command line, parsed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.stampede",
        description="Count the queries and time the requests of a site while a cached value expires.",
    )
    parser.add_argument(
        "--seconds",
        type=positive,
        metavar="N",
        help=f"how long each cache runs (default {SECONDS}; {CHECK_SECONDS} with --check)",
    )
    parser.add_argument(
        "--only",
        type=names_in(CONTENDERS, "cache"),
        metavar="CACHE,...",
        help=f"run these: {', '.join(CONTENDERS)}",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help=f"run {', '.join(CHECKED)} and exit with 1 unless each expiry takes exactly one query",
    )
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--json", type=Path, metavar="PATH", help=f"write the figures here (default {JSON})")
    parser.add_argument("--svg", type=Path, metavar="PATH", help=f"write the chart here (default {SVG})")
    parser.add_argument("--no-write", action="store_true", help="write neither")
    parser.epilog = (
        "A run with --seconds, --only or --check leaves the default files alone: it writes where --json and "
        "--svg say."
    )
    return parser.parse_args(argv)


def trials(names: Sequence[str], length: int) -> tuple[dict[str, Outcome], dict[str, str]]:
    """Run the caches one after the other; return the outcomes, and why others were skipped."""
    outcomes: dict[str, Outcome] = {}
    skipped: dict[str, str] = {}
    for name in (name for name in CONTENDERS if name in names):
        title = CONTENDERS[name].title
        progress(f"{title}: {length} s")
        try:
            outcomes[name] = run(CONTENDERS[name], length)
        except UnavailableError as error:
            skipped[name] = str(error)
            warn(f"skipped: {title}: {error}")
        except TrialError as error:
            skipped[name] = f"failed: {error}"
            warn(f"failed: {title}: {error}")
    progress("")
    return outcomes, skipped


def unmet(outcomes: report.Outcomes) -> list[str]:
    """Return the caches that were to compute once for each expiry, and did not or did not run."""
    missing = [name for name in CHECKED if name not in outcomes]
    return missing + [name for name in CHECKED if name in outcomes and not report.is_once(outcomes[name])]


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print, write; return the exit status."""
    options = arguments(argv)
    length = options.seconds or (CHECK_SECONDS if options.check else SECONDS)
    names = CHECKED if options.check else options.only or list(CONTENDERS)
    try:
        outcomes, skipped = trials(names, length)
    except KeyboardInterrupt:
        warn("interrupted")
        return 130
    print(report.text(outcomes, length, as_markdown=options.markdown))
    if not options.no_write:
        partial = bool(options.check or options.only or options.seconds)
        figures = json.dumps(report.as_json(outcomes, skipped, length), indent=2) + "\n"
        write_output(options.json, JSON, figures, partial=partial)
        write_output(options.svg, SVG, chart.svg(outcomes), partial=partial)
    if options.check and (wrong := unmet(outcomes)):
        warn(f"not exactly one query for each expiry: {', '.join(wrong)}")
        return 1
    return 1 if any(reason.startswith("failed") for reason in skipped.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
