"""The outcomes as a table, for the terminal and as Markdown, and as JSON."""

import os
import platform
from collections.abc import Iterator, Mapping
from typing import Any

from ..report import Table, duration, plain, verdict_of
from .contenders import CONTENDERS
from .outcome import Outcome
from .scenario import CLIENTS, QUERY_SECONDS, RATE, THREADS, TIMEOUT, WORKERS

Outcomes = Mapping[str, Outcome]  # by contender

# The 99th percentile of all requests with stale values, as a multiple of that of plain hits.
STALE_TIMES = 1.5


def table(outcomes: Outcomes) -> Table:
    """Return one contender a row."""
    head = ["cache", "queries per expiry", "most at once", "median", "p99", "longest", "hit: median", "p99"]
    return [head, *(row(name, outcome) for name, outcome in outcomes.items())]


def row(name: str, outcome: Outcome) -> list[str]:
    """Return one contender's figures."""
    times = [outcome.latency(percent) for percent in (50, 99, 100)]
    times += [outcome.hit_latency(percent) for percent in (50, 99)]
    counts = [number(outcome.per_expiry), str(outcome.most_at_once)]
    return [CONTENDERS[name].title, *counts, *map(duration, times)]


def number(found: float | None) -> str:
    """Return a number with one digit after the point."""
    return "-" if found is None else f"{found:.1f}"


def markdown(rows: Table) -> Iterator[str]:
    """Yield a Markdown table, ours in bold."""
    ours = {contender.title for contender in CONTENDERS.values() if contender.ours}
    for index, (title, *cells) in enumerate(rows):
        yield f"| {' | '.join([f'**{title}**' if title in ours else title, *cells])} |"
        if index == 0:
            yield f"|---|{'---:|' * len(cells)}"


def method(length: float) -> Iterator[str]:
    """Yield how the figures were measured."""
    yield (
        f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} CPUs; gunicorn "
        f"with {WORKERS} workers of {THREADS} threads; {CLIENTS} clients, together {RATE} requests a second,"
    )
    yield (
        f"for {length:g} s; a query of {QUERY_SECONDS * 1000:g} ms, whose value is cached for {TIMEOUT} s. "
        "Latencies count from when a request was due."
    )
    yield 'A "hit" is a request during which no query ran.'


def notes(outcomes: Outcomes) -> Iterator[str]:
    """Yield what a view calls, and the versions."""
    for name, outcome in outcomes.items():
        versions = ", ".join(f"{what} {version}" for what, version in outcome.versions.items())
        yield f"{CONTENDERS[name].title} ({versions}): {CONTENDERS[name].code}"


def expectations(outcomes: Outcomes) -> Iterator[tuple[bool, str]]:
    """Yield what is expected of ours, and whether it is met."""
    for name, outcome in outcomes.items():
        contender = CONTENDERS[name]
        if contender.once:
            words = f"1 query for each expiry: {outcome.queries} for {len(outcome.expiries)}"
            yield is_once(outcome), f"{contender.title:<30} {words}"
        found, hit = outcome.latency(99), outcome.hit_latency(99)
        if contender.stale and found and hit:
            words = f"p99 at most {STALE_TIMES:g}x that of hits: {found / hit:.2f}x"
            yield found <= STALE_TIMES * hit, f"{contender.title:<30} {words}"


def is_once(outcome: Outcome) -> bool:
    """Tell whether there were expiries, and each took exactly one query."""
    return bool(outcome.expiries) and outcome.queries == len(outcome.expiries)


def text(outcomes: Outcomes, length: float, *, as_markdown: bool = False) -> str:
    """Return the whole report."""
    rows = table(outcomes)
    sections = [list(markdown(rows) if as_markdown else plain(rows)), list(method(length))]
    sections.append([f"- {note}" for note in notes(outcomes)])
    if expected := [f"{verdict_of(met):<8} {words}" for met, words in expectations(outcomes)]:
        sections.append(["Expected of ours:", "", *(f"    {line}" for line in expected)])
    return "\n\n".join("\n".join(section) for section in sections)


def as_json(outcomes: Outcomes, skipped: Mapping[str, str], length: float) -> dict[str, Any]:
    """Return everything, ready for `json.dump`."""
    return {
        "about": " ".join(" ".join(method(length)).split()),
        "contenders": {
            name: {"title": CONTENDERS[name].title, "code": CONTENDERS[name].code, **outcome.as_json()}
            for name, outcome in outcomes.items()
        },
        "skipped": dict(skipped),
    }
