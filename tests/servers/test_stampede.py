"""The load test of stampedes counts right, and with a SharedCache each expiry takes one query."""

import sys
from pathlib import Path

import pytest

from support.isolated import start

sys.path.append(str(Path(__file__).resolve().parents[2]))

from benchmarks.stampede.clients import Visit
from benchmarks.stampede.outcome import Outcome, at_once, groups, percentile
from benchmarks.stampede.scenario import END, Events, Journal

MS = 1_000_000


def ms(*times):
    return [time * MS for time in times]


def queries(*begin):
    """Return when queries of 200 ms begin and end."""
    return ms(*begin), ms(*(time + 200 for time in begin))


def outcome(begin, visits=(), start=0, until=10_000):
    return Outcome([Visit(*ms(*visit)) for visit in visits], *queries(*begin), start * MS, until * MS, {})


class TestCounting:
    def test_queries_that_overlap_are_of_one_expiry(self):
        assert groups(*queries(0, 50, 199, 1400, 1401)) == [ms(0, 50, 199), ms(1400, 1401)]

    def test_query_of_a_waiter_that_computes_after_the_leader_is_of_the_same_expiry(self):
        assert groups(*queries(0, 201, 402, 1602)) == [ms(0, 201, 402), ms(1602)]

    def test_single_queries_are_expiries_of_their_own(self):
        assert groups(*queries(0, 1200, 2401)) == [ms(0), ms(1200), ms(2401)]

    def test_expiry_ends_when_its_first_value_has_expired(self):
        apart = range(0, 2400, 300)
        assert groups(*queries(*apart)) == [ms(0, 300, 600, 900), ms(1200, 1500, 1800, 2100)]

    def test_only_whole_expiries_between_start_and_end_count(self):
        found = outcome([100, 1300, 1310, 2500, 3700], start=1000, until=4000)
        assert found.expiries == [ms(1300, 1310), ms(2500)]
        assert found.per_expiry == 1.5

    def test_queries_at_once(self):
        assert at_once(ms(0, 10), ms(20, 30)) == [(0, 1), (10 * MS, 2), (20 * MS, 1), (30 * MS, 0)]
        assert outcome([0, 10, 300]).most_at_once == 2

    def test_no_query_is_lost(self):
        with pytest.raises(ValueError, match="2 queries began, but 1 ended"):
            Outcome.of([], Events(begin=[1, 2], end=[3]), 0, 1, {})

    def test_journal_keeps_the_events_of_each_kind_in_order(self, tmp_path):
        path = tmp_path / "journal"
        assert Events.read(path) == Events()
        for _ in range(2):
            Journal(str(path)).write(END)
        events = Events.read(path)
        assert len(events.end) == 2
        assert events.end == sorted(events.end)


class TestLatencies:
    def test_hit_is_a_request_during_which_no_query_ran(self):
        before, while_it_runs, across, after = (900, 990), (1050, 1051), (1150, 1210), (1201, 1300)
        found = outcome([1000], [before, while_it_runs, across, after])
        assert found.hit_latencies == ms(90, 99)
        assert found.latencies == ms(1, 60, 90, 99)

    def test_percentiles_are_latencies_that_occurred(self):
        assert [percentile(range(1, 101), percent) for percent in (0, 50, 99, 100)] == [1, 50, 99, 100]
        assert percentile([], 99) is None


@pytest.mark.skipif(sys.platform != "linux", reason="SharedCache is for Linux")
def test_each_expiry_takes_one_query():
    process, output, errors = start("-m", "benchmarks.stampede", "--check")
    assert process.returncode == 0, f"{output}{errors}"
