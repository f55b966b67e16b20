"""The results of the demo: `Outcome` for one cache, the comparison as a table, and consistency checks."""

from dataclasses import dataclass

from harness.traffic import Traffic

NAMES = {
    "none": "no cache",
    "locmem": "LocMemCache",
    "nearcache": "LocalCache",
    "shared": "SharedCache",
    "redis": "RedisCache",
    "tiered": "TieredCache",
    "tiered-shared": "NEAR shared",
}
# The caches of the comparison with one machine.
OF_ONE_MACHINE = ("none", "locmem", "nearcache", "shared", "redis")
LABEL_WIDTH = 29
COLUMN_WIDTH = 14
NOTHING = "-"
NOTES = """\
The figures are for four server processes together. All caches got the same requests after the same warm-up,
and a few more after a restart of all processes. For one cached page: a page that `cache_page` caches was
requested again and again. Values computed: cache misses. Queries saved: compared with no cache. Sessions
lost: evicted while in use, or unknown to the process that handled the request. A Redis server is not
restarted with the site, and uses the same processors."""
NOTES_ON_MACHINES = """\
Two servers with two processes each, on two loopback addresses, and one Redis or Valkey server. TieredCache
keeps near copies in each process; with NEAR "shared", in one file for each machine. Server commands: what the
Redis or Valkey server ran, counted by INFO commandstats. A near copy takes two, GET and PTTL."""


@dataclass(frozen=True)
class Outcome:
    """The result for one cache: what the clients measured, and what the site counted during that time."""

    cache: str
    warm_up: Traffic
    traffic: Traffic
    counted: dict[str, int]  # during `traffic`
    page: Traffic  # requests for one page that is cached
    restarted: Traffic
    counted_restarted: dict[str, int]  # during `restarted`

    @property
    def parts(self):
        return self.warm_up, self.traffic

    @property
    def failures(self):
        runs = (self.warm_up, self.traffic, self.page, self.restarted)
        return [failure for run in runs for failure in run.failures]

    @property
    def requests_per_second(self):
        return self.traffic.requests / self.traffic.seconds

    @property
    def requests_per_second_of_page(self):
        return self.page.requests / self.page.seconds

    @property
    def hit_ratio(self):
        return _ratio_of(self.counted)

    @property
    def hit_ratio_after_restart(self):
        return _ratio_of(self.counted_restarted)

    def per_request(self, counter):
        return self.counted[counter] / max(self.traffic.requests, 1)

    def latency_ms(self, share):
        """Returns a quantile of the latencies, in milliseconds; ``share`` is from 0 to 1."""
        latencies = self.traffic.latencies
        return 1000 * latencies[min(int(share * len(latencies)), len(latencies) - 1)] if latencies else 0.0


def table(outcomes):
    """Returns the comparison as text, with a column for each cache."""
    baseline = next((outcome for outcome in outcomes if outcome.cache == "none"), None)
    rows = [
        *_speed_rows(outcomes),
        (
            "  after a restart",
            [_shown(outcome, outcome.hit_ratio_after_restart) for outcome in outcomes],
        ),
        ("values computed per request", [f"{outcome.per_request('misses'):.2f}" for outcome in outcomes]),
        ("queries per request", [f"{outcome.per_request('queries'):.2f}" for outcome in outcomes]),
        ("queries saved", [_queries_saved(outcome, baseline) for outcome in outcomes]),
        ("sessions lost", [f"{outcome.traffic.lost_sessions:,}" for outcome in outcomes]),
        ("requests sent", [f"{outcome.traffic.requests:,}" for outcome in outcomes]),
    ]
    return _formatted(rows, NOTES)


def table_of_machines(outcomes):
    """Returns the comparison on two machines as text, with a column for each cache."""
    rows = [
        *_speed_rows(outcomes),
        ("server commands per request", [f"{outcome.per_request('commands'):.2f}" for outcome in outcomes]),
        ("values computed per request", [f"{outcome.per_request('misses'):.2f}" for outcome in outcomes]),
        ("sessions lost", [f"{outcome.traffic.lost_sessions:,}" for outcome in outcomes]),
        ("requests sent", [f"{outcome.traffic.requests:,}" for outcome in outcomes]),
    ]
    return _formatted(rows, NOTES_ON_MACHINES)


def _speed_rows(outcomes):
    return [
        ("", [NAMES[outcome.cache] for outcome in outcomes]),
        ("requests/s", [f"{outcome.requests_per_second:,.0f}" for outcome in outcomes]),
        (
            "  for one cached page",
            [f"{outcome.requests_per_second_of_page:,.0f}" for outcome in outcomes],
        ),
        ("latency, median (ms)", [f"{outcome.latency_ms(0.5):.1f}" for outcome in outcomes]),
        ("latency, p99 (ms)", [f"{outcome.latency_ms(0.99):.1f}" for outcome in outcomes]),
        ("hit ratio of all processes", [_shown(outcome, outcome.hit_ratio) for outcome in outcomes]),
    ]


def _formatted(rows, notes):
    lines = [
        f"{label:<{LABEL_WIDTH}}" + "".join(f"{cell:>{COLUMN_WIDTH}}" for cell in cells)
        for label, cells in rows
    ]
    lines.insert(1, "-" * len(lines[0]))
    lines += ("", notes)
    return "\n".join(lines)


def problems(outcomes):
    """Yields a message for each inconsistency in the figures."""
    for outcome in outcomes:
        name, traffic, counted = NAMES[outcome.cache], outcome.traffic, outcome.counted
        if outcome.failures:
            yield f"{name}: {len(outcome.failures)} requests failed; the first one: {outcome.failures[0]}"
        elif not traffic.requests:
            yield f"{name}: no requests were sent"
        elif counted["requests"] != traffic.requests:
            yield f"{name}: {traffic.requests} requests were sent, but the site counted {counted['requests']}"
        if outcome.cache != "none" and not counted["hits"]:
            yield f"{name}: the cache had no hits"


def _ratio_of(counted):
    reads = counted["hits"] + counted["misses"]
    return counted["hits"] / reads if reads else 0.0


def _shown(outcome, ratio):
    return NOTHING if outcome.cache == "none" else f"{ratio:.1%}"


def _queries_saved(outcome, baseline):
    if baseline is None or outcome is baseline or not baseline.per_request("queries"):
        return NOTHING
    return f"{1 - outcome.per_request('queries') / baseline.per_request('queries'):.1%}"
