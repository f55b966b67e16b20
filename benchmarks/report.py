"""The results as tables, for the terminal and as Markdown, and as an SVG chart.

The chart shows the speed relative to LocMemCache, on a logarithmic scale, grouped by operation. It has only
Django backends, since they do the same work, and a background of its own, so that it is legible on light and
on dark pages.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape

from .operations import AT_ONCE, CALLS, KEYS, KEYS_OF_LARGE_VALUES, OPERATIONS, VALUES, Operation
from .results import CHANGE_SEEN_MS, Rates, Results
from .rivals import BASELINE, FLOOR, OURS, REMOTE, RIVALS, SHARED, Rival
from .tracking import Changes

# The chart has the calls, and these values.
CHARTED_VALUES = {
    "get response of 20 KB",
    "get model instance",
    "get queryset of 20",
    "get 20 values() rows",
    "get session",
    "get object",
}
CHARTED = (*CALLS, *(each for each in VALUES if each.name in CHARTED_VALUES))

Table = list[list[str]]  # the first row is the head
Render = Callable[[Table], Iterator[str]]

WIDTH = 860
LEFT, RIGHT = 196, 60  # beside the plot: labels, room for the value of the longest bar
HEADER, FOOTER = 112, 62
BAR, GAP, GROUP_GAP = 13, 2, 16

INK, FAINT, RULE, PAPER, FRAME = "#1f2933", "#5f6b7a", "#dde1e6", "#fbfbf9", "#cfd4da"
OURS_COLOUR = "#c2410c"
COLOURS = ("#475569", "#8593a8", "#bcc5d1")  # the others, in order
FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"


def duration(ns: float | None) -> str:
    """Return a duration with its unit: `812 ns`, `3.1 µs`, `1.2 ms`."""
    if ns is None:
        return "-"
    for unit, size in (("ms", 1e6), ("µs", 1e3)):
        if ns >= size:
            return f"{ns / size:.{0 if ns >= 100 * size else 1}f} {unit}"
    return f"{ns:.0f} ns"


def times(ratio: float | None) -> str:
    """Return a ratio in three digits or fewer: `182x`, `21.3x`, `2.5x`, `0.04x`."""
    if ratio is None:
        return "-"
    digits = 0 if ratio >= 100 else 1 if ratio >= 1 else 2 if ratio >= 0.1 else 3
    return f"{ratio:.{digits}f}x"


def table(
    results: Results, rivals: Sequence[Rival], operations: Sequence[Operation], baseline: str = BASELINE
) -> Table:
    """Return the baseline's times and everyone's ratios, one operation a row."""
    titles = [rival.title for rival in rivals]
    rows = [["operation", RIVALS[baseline].title, *titles]]
    for operation in operations:
        cost = results.cost(baseline, operation.name)
        if cost is not None:
            ratios = [times(results.ratio(rival.name, operation.name, baseline)) for rival in rivals]
            rows.append([operation.name, duration(cost), *ratios])
    return rows


def tables(results: Results) -> Iterator[tuple[str, Table]]:
    """Yield the tables of Django's backends, of raw libraries and of pairs, each with a heading."""
    present = [RIVALS[name] for name in results.timings if name != BASELINE]
    backends = [rival for rival in present if rival.django and not rival.tiers]
    yield 'Django backends, through caches["default"]', table(results, backends, CALLS)
    yield "What sites cache", table(results, backends, VALUES)
    tiers = [rival for rival in present if rival.tiers]
    if tiers and REMOTE in results.timings:
        ahead = [ours] if (ours := RIVALS[OURS]) in present else []
        yield (
            f"Caches of several machines: the time of {RIVALS[REMOTE].title}, and how many times its speed",
            table(results, [*ahead, *tiers], OPERATIONS, REMOTE),
        )
    plain = [operation for operation in OPERATIONS if not operation.django]
    libraries = [rival for rival in present if not rival.django]
    ours, shared = RIVALS[OURS], RIVALS[SHARED]
    own = [rival for rival in libraries if rival.place is None]
    common = [rival for rival in libraries if rival.place is not None]
    if own:
        ahead = [ours] if ours in present else []
        yield (
            "Libraries without Django: values by reference, no key building",
            table(results, [*ahead, *own], plain),
        )
    if common:
        ahead = [shared] if shared in present else []
        yield (
            "Stores without Django that processes share: values pickled, no key building, no expiry",
            table(results, [*ahead, *common], plain),
        )
    if paired := [rival for rival in present if results.timings[rival.name].rates]:
        yield (
            "Two processes at once: calls a second of both, and how many times those of one",
            pairs_table(results, paired),
        )
    changes = {name: timings.changes for name, timings in results.timings.items() if timings.changes}
    if changes:
        yield "Near copies: how soon another process sees a change", changes_table(changes)


def pairs_table(results: Results, rivals: Sequence[Rival]) -> Table:
    """Return the rates of two processes and the gain over one, one rival a row."""
    rows = [["cache", *(operation.name for operation in AT_ONCE)]]
    for rival in rivals:
        rates = results.timings[rival.name].rates
        title = f"{rival.title}, one each" if rival.name == FLOOR else rival.title
        rows.append([title, *(gain(rates.get(operation.name)) for operation in AT_ONCE)])
    return rows


def changes_table(changes: Mapping[str, Changes]) -> Table:
    """Return when changes were seen and what they cost the server, one rival a row."""
    rows = [["cache", "median", "p99", "not seen", "processes", "listening connections", "pushes a write"]]
    for name, found in changes.items():
        load, times_ms = found.load, (found.median, found.p99)
        seen = [duration(ms and ms * 1e6) for ms in times_ms]
        cost = [str(load.processes), str(load.trackers), str(load.pushes or "-")] if load else ["-"] * 3
        rows.append([RIVALS[name].title, *seen, str(found.unseen), *cost])
    return rows


def gain(rates: Rates | None) -> str:
    """Return calls a second and the gain: `14.2 M, 1.98x`."""
    if rates is None or not rates.both:
        return "-"
    calls = max(rates.both)
    number = f"{calls / 1e6:.1f} M" if calls >= 1e6 else f"{calls / 1e3:.1f} k"
    return f"{number}, {rates.gain:.2f}x"


def plain(rows: Table) -> Iterator[str]:
    """Yield an aligned table."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for index, (name, *cells) in enumerate(rows):
        padded = [f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True)]
        yield "  ".join([f"{name:<{widths[0]}}", *padded])
        if index == 0:
            yield "  ".join("-" * width for width in widths)


def markdown(rows: Table) -> Iterator[str]:
    """Yield a Markdown table, LocalCache in bold."""
    ours = rows[0].index(RIVALS[OURS].title) if RIVALS[OURS].title in rows[0] else None
    for index, cells in enumerate(rows):
        marked = [f"**{cell}**" if index and at == ours else cell for at, cell in enumerate(cells)]
        yield f"| {' | '.join(marked)} |"
        if index == 0:
            yield f"|---|{'---:|' * (len(cells) - 1)}"


def method(results: Results) -> Iterator[str]:
    """Yield how the numbers were measured."""
    about, noise = results.environment(), results.timings[BASELINE].noise()
    yield (
        f"{about['implementation']} {about['python']}, {about['cpus']} CPUs; one process per rival, taken in "
        f"turns; minimum of {results.repeats} bursts of about {results.burst_ms:g} ms."
    )
    yield "Times are of this run on this machine only; an Nx is that many times the speed of LocMemCache."
    yield f"Noise: a typical burst of LocMemCache took {noise:.0%} longer than the shortest."
    yield f"{KEYS} keys in turn, {KEYS_OF_LARGE_VALUES} of large values, one thread, TIMEOUT 300."
    yield "The cost of an empty loop is subtracted."
    yield "The garbage collector is off during a burst, as in timeit: what it costs depends on the rest of"
    yield "the process. That favours those who unpickle."
    yield "Two processes at once: the best of as many turns as one has. There the loop is not subtracted."


def notes(results: Results) -> Iterator[str]:
    """Yield each rival with its versions and its note."""
    for name, timings in results.timings.items():
        rival = RIVALS[name]
        versions = ", ".join(f"{what} {version}" for what, version in timings.versions.items())
        yield f"{rival.title}{versions and f' ({versions})'}: {rival.note}"


def expectations(results: Results) -> Iterator[str]:
    """Yield the expectations of ours and whether they are met."""
    for expectation, found in results.met():
        verdict = "unknown" if found is None else verdict_of(found >= expectation.times)
        rival = RIVALS[expectation.against].title if expectation.against else None
        if rival is None:
            limit, value = f"at least {expectation.times:g}x one process, by two at once", times(found)
        elif expectation.times < 1:
            # Below 1 it limits the time, and is easier to read as such.
            limit = f"at most {1 / expectation.times:g}x the time of {rival}"
            value = times(found and 1 / found)
        else:
            limit, value = f"at least {expectation.times:g}x the speed of {rival}", times(found)
        which = RIVALS[expectation.of].title
        yield f"{verdict:<8} {which:<18} {expectation.operation:<24} {value:>6}   {limit}"
    for name, timings in results.timings.items():
        changes = timings.changes
        if changes and changes.load:
            yield from expected_of_changes(RIVALS[name].title, changes)


def expected_of_changes(title: str, changes: Changes) -> Iterator[str]:
    """Yield what is expected of near copies."""
    met = changes.median is not None and changes.median < CHANGE_SEEN_MS and not changes.unseen
    value = duration(changes.median and changes.median * 1e6)
    yield (
        f"{verdict_of(met):<8} {title:<18} {'change seen':<24} {value:>6}   "
        f"in less than {CHANGE_SEEN_MS:g} ms by another process (median)"
    )


def verdict_of(met: bool) -> str:
    """Return the word for whether an expectation is met."""
    return "met" if met else "MISSED"


def text(results: Results) -> str:
    """Return the whole report for a terminal."""
    sections = [[heading, "", *plain(rows)] for heading, rows in tables(results) if len(rows) > 1]
    sections.append(list(method(results)))
    sections.append(list(notes(results)))
    if results.met():
        sections.append(["Expected of ours:", *expectations(results)])
    return "\n\n".join("\n".join(section) for section in sections)


def markdown_text(results: Results) -> str:
    """Return the tables and their explanation as Markdown."""
    sections = [[f"**{heading}**", "", *markdown(rows)] for heading, rows in tables(results) if len(rows) > 1]
    sections.append(list(method(results)))
    sections.append([f"- {note}" for note in notes(results)])
    return "\n\n".join("\n".join(section) for section in sections)


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
    names = [name for name in results.timings if RIVALS[name].django and not RIVALS[name].tiers]
    names.remove(BASELINE)
    operations = [each for each in CHARTED if results.cost(BASELINE, each.name) is not None]
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
    """Yield the conditions of the run."""
    about = results.environment()
    django = results.timings[BASELINE].versions["Django"]
    words = (
        f"Below each name: LocMemCache's time in this run. {about['implementation']} {about['python']}, "
        f"Django {django}, {about['cpus']} CPUs, one thread. `make compare`"
    )
    yield label(24, bottom + 44, words, 12, fill=FAINT)
