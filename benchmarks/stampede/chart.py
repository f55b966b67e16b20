"""The chart: for some caches, each request's latency over a few seconds, and the queries that run meanwhile.

It has a background of its own, like that of `make compare`, so that it is legible on light and dark pages.
"""

from collections.abc import Iterator, Mapping

from ..report import FAINT, FONT, FRAME, INK, OURS_COLOUR, PAPER, RULE, duration, label, rectangle
from .contenders import CHARTED, CONTENDERS
from .outcome import Outcome
from .report import number
from .scenario import CLIENTS, QUERY_SECONDS, RATE, TIMEOUT, WORKERS, seconds

WIDTH = 860
LEFT, RIGHT = 64, 24  # beside the plots: the axis, some space
HEADER, FOOTER = 100, 46
TITLE, LATENCIES, BETWEEN, QUERIES, GAP = 30, 104, 6, 40, 22  # the parts of a panel, from its top
PANEL = TITLE + LATENCIES + BETWEEN + QUERIES + GAP

SHOWN_SECONDS = 5
LONGEST_MS = 250
DOT = 3
LEAST_HEIGHT = 3
OTHER_COLOUR = "#475569"

Outcomes = Mapping[str, Outcome]


def svg(outcomes: Outcomes) -> str:
    """Return the chart as an SVG document."""
    shown = {name: outcomes[name] for name in CHARTED if name in outcomes}
    bottom = HEADER + len(shown) * PANEL
    lines = list(header(bottom + FOOTER))
    for index, (name, outcome) in enumerate(shown.items()):
        lines += panel(name, outcome, HEADER + index * PANEL)
    lines += footer(bottom)
    return "\n".join([*lines, "</svg>", ""])


def header(height: float) -> Iterator[str]:
    """Yield the opening, the background and the title."""
    title = "What happens when a cached value expires"
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    yield f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" font-family="{FONT}">'
    yield f"<title>{title}</title>"
    yield rectangle(0.5, 0.5, WIDTH - 1, height - 1, PAPER, more=f' rx="8" stroke="{FRAME}"')
    yield label(24, 36, title, 19, weight="600")
    yield label(
        24,
        58,
        f"A query of {QUERY_SECONDS * 1000:g} ms, cached for {TIMEOUT} s; {CLIENTS} clients, {RATE} requests "
        f"a second, {WORKERS} worker processes.",
        fill=FAINT,
    )
    yield label(24, 78, "Dots: how long each request took. Below: how many queries ran at once.", fill=FAINT)


class Plot:
    """Maps times and latencies of one panel to coordinates."""

    def __init__(self, outcome: Outcome, top: float) -> None:
        """Show the first seconds that count."""
        self.start, self.until = outcome.start, outcome.start + seconds(SHOWN_SECONDS)
        self.latencies = top + TITLE + LATENCIES  # where no time passes
        self.queries = self.latencies + BETWEEN + QUERIES  # where no query runs

    def x(self, when: int) -> float:
        """Return the coordinate of a point in time, which may lie outside."""
        share = (min(max(when, self.start), self.until) - self.start) / seconds(SHOWN_SECONDS)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(self, ns: float) -> float:
        """Return the coordinate of a latency."""
        return round(self.latencies - min(ns / 1e6 / LONGEST_MS, 1) * LATENCIES, 1)

    def height(self, queries: int) -> float:
        """Return the height of so many queries at once, enough to see a single one."""
        return round(max(min(queries / CLIENTS, 1) * QUERIES, LEAST_HEIGHT if queries else 0), 1)


def panel(name: str, outcome: Outcome, top: float) -> Iterator[str]:
    """Yield one cache's panel."""
    contender, plot = CONTENDERS[name], Plot(outcome, top)
    colour = OURS_COLOUR if contender.ours else OTHER_COLOUR
    words = (
        f"{number(outcome.per_expiry)} queries per expiry, up to {outcome.most_at_once} at once; "
        f"p99 {duration(outcome.latency(99))}"
    )
    yield label(24, top + 18, contender.title, 14, weight="600", fill=colour)
    yield label(WIDTH - RIGHT, top + 18, words, 12, fill=INK, anchor="end")
    yield from grid(plot)
    yield f'<path d="{area(outcome, plot)}" fill="{colour}" opacity="0.75"/>'
    yield f'<path d="{dots(outcome, plot)}" stroke="{colour}" stroke-width="{DOT}" stroke-linecap="round"/>'


def grid(plot: Plot) -> Iterator[str]:
    """Yield the lines and labels of both axes of a panel."""
    for ms in (0, 100, 200):
        y = plot.y(ms * 1e6)
        yield line(y)
        yield label(LEFT - 8, y + 4, f"{ms} ms" if ms else "0", 11, fill=FAINT, anchor="end")
    yield line(plot.queries)
    yield label(LEFT - 8, plot.queries - QUERIES / 2 + 4, "queries", 11, fill=FAINT, anchor="end")


def line(y: float) -> str:
    """Return a horizontal line over the plot."""
    return f'<line x1="{LEFT}" y1="{y}" x2="{WIDTH - RIGHT}" y2="{y}" stroke="{RULE}"/>'


def dots(outcome: Outcome, plot: Plot) -> str:
    """Return a path with a dot for each request; dots side by side are one line."""
    shown = [visit for visit in outcome.counted if visit.sent < plot.until]
    places = sorted({(round(plot.y(visit.latency)), round(plot.x(visit.sent))) for visit in shown})
    runs: list[list[int]] = []  # y, first x, last x
    for y, x in places:
        if runs and runs[-1][0] == y and x <= runs[-1][2] + DOT:
            runs[-1][2] = x
        else:
            runs.append([y, x, x])
    return "".join(f"M{first},{y}h{last - first}" for y, first, last in runs)


def area(outcome: Outcome, plot: Plot) -> str:
    """Return a path around the queries at once."""
    steps = [f"M{LEFT},{plot.queries}"]
    for when, running in outcome.running:
        if plot.start <= when <= plot.until:
            steps.append(f"H{plot.x(when)}V{round(plot.queries - plot.height(running), 1)}")
    return f"{''.join(steps)}V{plot.queries}Z"


def footer(bottom: float) -> Iterator[str]:
    """Yield the axis of time."""
    for second in range(SHOWN_SECONDS + 1):
        x = LEFT + second / SHOWN_SECONDS * (WIDTH - LEFT - RIGHT)
        words = f"{second} s"
        yield label(round(x, 1), bottom - 4, words, 11, fill=FAINT, anchor="middle")
    yield label(24, bottom + 28, "`make stampede`", 12, fill=FAINT)
