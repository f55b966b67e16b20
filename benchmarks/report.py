"""The results as text: tables for the terminal or the documentation, what they mean, and the expectations."""

from collections.abc import Callable, Iterator, Sequence

from .operations import AT_ONCE, KEYS, OPERATIONS, Operation
from .results import Rates, Results
from .rivals import BASELINE, FLOOR, OURS, RIVALS, SHARED, Rival

Table = list[list[str]]  # the first row is the head
Render = Callable[[Table], Iterator[str]]


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


def table(results: Results, rivals: Sequence[Rival], operations: Sequence[Operation]) -> Table:
    """Return the baseline's times and everyone's ratios, one operation a row."""
    titles = [rival.title for rival in rivals]
    rows = [["operation", RIVALS[BASELINE].title, *titles]]
    for operation in operations:
        ratios = [times(results.ratio(rival.name, operation.name)) for rival in rivals]
        rows.append([operation.name, duration(results.cost(BASELINE, operation.name)), *ratios])
    return rows


def tables(results: Results) -> Iterator[tuple[str, Table]]:
    """Yield the tables of Django's backends, of raw libraries and of pairs, each with a heading."""
    present = [RIVALS[name] for name in results.timings if name != BASELINE]
    yield (
        'Django backends, through caches["default"]',
        table(results, [rival for rival in present if rival.django], OPERATIONS),
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


def pairs_table(results: Results, rivals: Sequence[Rival]) -> Table:
    """Return the rates of two processes and the gain over one, one rival a row."""
    rows = [["cache", *(operation.name for operation in AT_ONCE)]]
    for rival in rivals:
        rates = results.timings[rival.name].rates
        title = f"{rival.title}, one each" if rival.name == FLOOR else rival.title
        rows.append([title, *(gain(rates.get(operation.name)) for operation in AT_ONCE)])
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
    """Yield how the numbers came about, a sentence or two a line."""
    about, noise = results.environment(), results.timings[BASELINE].noise()
    yield (
        f"{about['implementation']} {about['python']}, {about['cpus']} CPUs; one process per rival, taken in "
        f"turns; minimum of {results.repeats} bursts of about {results.burst_ms:g} ms."
    )
    yield "Times are of this run on this machine only; an Nx is that many times the speed of LocMemCache."
    yield f"Noise: a typical burst of LocMemCache took {noise:.0%} longer than the shortest."
    yield f"{KEYS} keys in turn, one thread, TIMEOUT 300. The cost of an empty loop is subtracted."
    yield "The garbage collector is off during a burst, as in timeit: what it costs depends on the rest of"
    yield "the process. That favours those who unpickle."
    yield "Two processes at once: the best of as many turns as one has. There the loop is not subtracted."


def notes(results: Results) -> Iterator[str]:
    """Yield each rival with its versions and what is special about it."""
    for name, timings in results.timings.items():
        rival = RIVALS[name]
        versions = ", ".join(f"{what} {version}" for what, version in timings.versions.items())
        yield f"{rival.title}{versions and f' ({versions})'}: {rival.note}"


def expectations(results: Results) -> Iterator[str]:
    """Yield the expectations of ours and whether they are met."""
    for expectation, found in results.met():
        verdict = "unknown" if found is None else "met" if found >= expectation.times else "MISSED"
        rival = RIVALS[expectation.against].title if expectation.against else None
        if rival is None:
            limit, value = f"at least {expectation.times:g}x one process, by two at once", times(found)
        elif expectation.times < 1:
            # Below 1 it is the time that is limited, and easier to read as such.
            limit = f"at most {1 / expectation.times:g}x the time of {rival}"
            value = times(found and 1 / found)
        else:
            limit, value = f"at least {expectation.times:g}x the speed of {rival}", times(found)
        which = RIVALS[expectation.of].title
        yield f"{verdict:<8} {which:<12} {expectation.operation:<15} {value:>6}   {limit}"


def text(results: Results) -> str:
    """Return the whole report for a terminal."""
    sections = [[heading, "", *plain(rows)] for heading, rows in tables(results)]
    sections.append(list(method(results)))
    sections.append(list(notes(results)))
    if results.met():
        sections.append(["Expected of ours:", *expectations(results)])
    return "\n\n".join("\n".join(section) for section in sections)


def markdown_text(results: Results) -> str:
    """Return the tables and their explanation as Markdown."""
    sections = [[f"**{heading}**", "", *markdown(rows)] for heading, rows in tables(results)]
    sections.append(list(method(results)))
    sections.append([f"- {note}" for note in notes(results)])
    return "\n\n".join("\n".join(section) for section in sections)
