"""The results as an SVG chart: speed relative to LocMemCache, on a logarithmic scale, grouped by operation.

Only Django backends are drawn: they do the same work. The chart brings its own background, so that it reads
the same on a light and on a dark page.
"""

import math
from collections.abc import Iterator, Sequence
from html import escape

from .operations import OPERATIONS, Operation
from .report import duration, times
from .results import Results
from .rivals import BASELINE, OURS, RIVALS

WIDTH = 860
LEFT, RIGHT = 196, 60  # beside the plot: labels, room for the value of the longest bar
HEADER, FOOTER = 112, 62
BAR, GAP, GROUP_GAP = 13, 2, 16

INK, FAINT, RULE, PAPER, FRAME = "#1f2933", "#5f6b7a", "#dde1e6", "#fbfbf9", "#cfd4da"
OURS_COLOUR = "#c2410c"
COLOURS = ("#475569", "#8593a8", "#bcc5d1")  # the others, in order
FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"


class Scale:
    """Maps a ratio to an x coordinate, on a logarithmic scale."""

    def __init__(self, ratios: Sequence[float]) -> None:
        """Cover all ratios and some space on either side of the baseline."""
        self.low = math.log10(min([0.5, *ratios]))
        self.high = math.log10(max([2.0, *ratios]))

    def x(self, ratio: float) -> float:
        """Return the coordinate."""
        share = (math.log10(ratio) - self.low) / (self.high - self.low)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def ticks(self) -> list[float]:
        """Return the powers of ten."""
        return [10.0**power for power in range(math.ceil(self.low), math.floor(self.high) + 1)]


def svg(results: Results) -> str:
    """Return the chart as an SVG document."""
    names = [name for name in results.timings if RIVALS[name].django and name != BASELINE]
    operations = [each for each in OPERATIONS if results.cost(BASELINE, each.name) is not None]
    ratios = [results.ratio(name, each.name) for name in names for each in operations]
    scale = Scale([ratio for ratio in ratios if ratio])
    group = len(names) * (BAR + GAP) + GROUP_GAP
    bottom = HEADER + len(operations) * group
    lines = [*header(names, bottom + FOOTER), *grid(scale, bottom)]
    for index, operation in enumerate(operations):
        lines += bars(results, scale, names, operation, HEADER + index * group + GROUP_GAP / 2)
    lines += footer(results, bottom)
    return "\n".join([*lines, "</svg>", ""])


def colours(names: Sequence[str]) -> dict[str, str]:
    """Return the colour of each rival, LocalCache first."""
    others = [name for name in names if name != OURS]
    ours = {OURS: OURS_COLOUR} if OURS in names else {}
    return ours | {name: COLOURS[at % len(COLOURS)] for at, name in enumerate(others)}


def label(x: float, y: float, words: str, size: int = 13, **attributes: str) -> str:
    """Return a text element; `anchor` and `weight` are short for SVG's longer names."""
    given = {"fill": INK} | attributes
    longer = {"anchor": "text-anchor", "weight": "font-weight"}
    extra = "".join(f' {longer.get(name, name)}="{value}"' for name, value in given.items())
    return f'<text x="{x}" y="{y}" font-size="{size}"{extra}>{escape(words)}</text>'


def rectangle(x: float, y: float, width: float, height: float, fill: str, *, more: str = "") -> str:
    """Return a rectangle."""
    return f'<rect x="{x}" y="{y}" width="{round(width, 1)}" height="{height}" fill="{fill}"{more}/>'


def header(names: Sequence[str], height: float) -> Iterator[str]:
    """Yield the opening, the background, the title and the legend."""
    title = "Speed of Django cache backends, relative to LocMemCache"
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    yield f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" font-family="{FONT}">'
    yield f"<title>{title}</title>"
    yield rectangle(0.5, 0.5, WIDTH - 1, height - 1, PAPER, more=f' rx="8" stroke="{FRAME}"')
    yield label(24, 36, title, 19, weight="600")
    yield label(
        24,
        58,
        "Longer to the right is faster. Logarithmic: each line is ten times the one before.",
        fill=FAINT,
    )
    x = 24
    for name, colour in colours(names).items():
        yield rectangle(x, 74, 14, 14, colour, more=' rx="2"')
        yield label(x + 20, 86, RIVALS[name].title, weight="600" if name == OURS else "400")
        x += 44 + 8 * len(RIVALS[name].title)


def grid(scale: Scale, bottom: float) -> Iterator[str]:
    """Yield a vertical line for each power of ten, the baseline's strongest."""
    for tick in scale.ticks():
        x, baseline = scale.x(tick), tick == 1
        style = f'stroke="{INK if baseline else RULE}"'
        yield f'<line x1="{x}" y1="{HEADER}" x2="{x}" y2="{bottom}" {style}/>'
        words = RIVALS[BASELINE].title if baseline else f"{tick:g}x"
        yield label(x, bottom + 17, words, 12, fill=INK if baseline else FAINT, anchor="middle")


def bars(
    results: Results, scale: Scale, names: Sequence[str], operation: Operation, top: float
) -> Iterator[str]:
    """Yield one operation's bars, from the baseline to the right if faster, to the left if slower."""
    middle = top + len(names) * (BAR + GAP) / 2
    yield label(24, middle - 2, operation.name, weight="600")
    yield label(24, middle + 14, duration(results.cost(BASELINE, operation.name)), 12, fill=FAINT)
    start = scale.x(1)
    for index, name in enumerate(colours(names)):
        ratio = results.ratio(name, operation.name)
        if ratio is None:
            continue
        end, y = scale.x(ratio), top + index * (BAR + GAP)
        yield rectangle(min(start, end), y, max(abs(end - start), 1), BAR, colours(names)[name])
        strong = {"weight": "700", "fill": OURS_COLOUR} if name == OURS else {"fill": FAINT}
        side = {"anchor": "start" if ratio >= 1 else "end"}
        yield label(end + (5 if ratio >= 1 else -5), y + BAR - 2, times(ratio), 12, **strong, **side)


def footer(results: Results, bottom: float) -> Iterator[str]:
    """Yield what the numbers are of."""
    about = results.environment()
    django = results.timings[BASELINE].versions["Django"]
    words = (
        f"Below each name: LocMemCache's time in this run. {about['implementation']} {about['python']}, "
        f"Django {django}, {about['cpus']} CPUs, one thread. `make compare`"
    )
    yield label(24, bottom + 44, words, 12, fill=FAINT)
