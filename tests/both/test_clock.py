"""Clocks: `CLOCK`, frozen time, and the expiry of entries."""

import datetime
import itertools
import math
import sys
import threading
import time
from decimal import Decimal

import freezegun
import pytest
import time_machine
from django.core.exceptions import ImproperlyConfigured

from nearcache.django import LocalCache
from support.isolated import isolated

pytestmark = pytest.mark.memory_only("the server has the clock")

START = datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc)


def seconds(number):
    return datetime.timedelta(seconds=number)


class Clock:
    """What `CLOCK` names here: says whatever it was output to say."""

    said = 0.0
    error = None
    reads = 0


def read():
    Clock.reads += 1
    if Clock.error:
        raise Clock.error
    return Clock.said


@pytest.fixture
def said():
    """Return a function that sets what the clock says, or the exception that it raises."""

    def say(what):
        Clock.said, Clock.error = (None, what) if isinstance(what, BaseException) else (what, None)

    say(1000.0)
    return say


PATH = f"{__name__}.read"


class Freezegun:
    """Time as freezegun tells it."""

    def __init__(self):
        self.frozen = None

    def start(self, when):
        self.freezer = freezegun.freeze_time(when)
        self.frozen = self.freezer.start()

    def move_to(self, when):
        self.frozen.move_to(when)

    def stop(self):
        self.freezer.stop()


class TimeMachine:
    """Time as time-machine tells it."""

    def start(self, when):
        self.traveller = time_machine.travel(when, tick=False)
        self.frozen = self.traveller.start()

    def move_to(self, when):
        self.frozen.move_to(when)

    def stop(self):
        self.traveller.stop()


@pytest.fixture(params=[Freezegun, TimeMachine])
def frozen(request):
    """Return a function that freezes the time, and moves it when called again."""
    tool = request.param()
    started = []

    def freeze(when):
        if started:
            tool.move_to(when)
        else:
            tool.start(when)
            started.append(True)

    yield freeze
    if started:
        tool.stop()


@pytest.fixture(params=["nearcache", "locmem"])
def either_cache(request, make_cache, make_locmem):
    """Return a LocalCache with a clock that can be frozen; then a LocMemCache, which must do the same."""
    if request.param == "nearcache":
        return make_cache(CLOCK="time.time", TIMEOUT=60)
    return make_locmem(TIMEOUT=60)


def utc(*numbers):
    return datetime.datetime(*numbers, tzinfo=datetime.timezone.utc)


def expire_in_turn(cache, freeze, start):
    """Freeze the time, store entries, and see that each lasts as long as it should."""
    freeze(start)
    cache.set("default", 1)
    cache.set("short", 1, 10)
    cache.set("ever", 1, None)
    cache.add("added", 1, 10)
    keys = ["default", "short", "ever", "added"]
    assert list(cache.get_many(keys)) == keys
    freeze(start + seconds(9))
    assert cache.touch("added", 20)
    assert list(cache.get_many(keys)) == keys
    freeze(start + seconds(11))
    assert cache.get("short") is None
    assert not cache.has_key("short")
    assert list(cache.get_many(keys)) == ["default", "ever", "added"]
    freeze(start + seconds(61))
    assert list(cache.get_many(keys)) == ["ever"]
    assert cache.add("default", 2)
    assert not cache.add("ever", 2)


class TestFrozenTime:
    @pytest.mark.parametrize("start", [START, utc(2500, 1, 1)], ids=["2030", "2500"])
    def test_entries_expire_when_the_time_is_moved(self, either_cache, frozen, start):
        expire_in_turn(either_cache, frozen, start)

    @pytest.mark.local_only("a file has times from 1970")
    @pytest.mark.parametrize("start", [utc(1960, 2, 29), utc(1969, 12, 31, 23, 59, 30)], ids=["1960", "1970"])
    def test_entries_expire_before_the_epoch(self, make_cache, frozen, start):
        # LocMemCache can't: there, what is missing expired in -1.
        expire_in_turn(make_cache(CLOCK="time.time", TIMEOUT=60), frozen, start)

    def test_nothing_expires_while_the_time_stands_still(self, either_cache, frozen):
        frozen(START)
        either_cache.set("key", "value", 0.001)
        # Real time, which a frozen clock does not show.
        threading.Event().wait(0.02)
        assert either_cache.get("key") == "value"

    @pytest.mark.local_only("a clock set back prolongs no life")
    def test_time_that_moves_backwards_prolongs_lifetimes(self, either_cache, frozen):
        frozen(START)
        either_cache.set("key", "value", 10)
        frozen(START - seconds(100))
        assert either_cache.get("key") == "value"
        frozen(START + seconds(9))
        assert either_cache.get("key") == "value"
        frozen(START + seconds(11))
        assert either_cache.get("key") is None

    def test_incr_keeps_the_expiry(self, either_cache, frozen):
        frozen(START)
        either_cache.set("key", 1, 10)
        frozen(START + seconds(9))
        assert either_cache.incr("key") == 2
        frozen(START + seconds(11))
        with pytest.raises(ValueError, match="not found"):
            either_cache.incr("key")

    def test_freezegun_ticks(self, either_cache):
        with freezegun.freeze_time(START) as frozen:
            either_cache.set("key", "value", 10)
            frozen.tick(9)
            assert either_cache.get("key") == "value"
            frozen.tick(2)
            assert either_cache.get("key") is None

    def test_time_machine_shifts(self, either_cache):
        with time_machine.travel(START, tick=False) as traveller:
            either_cache.set("key", "value", 10)
            traveller.shift(9)
            assert either_cache.get("key") == "value"
            traveller.shift(2)
            assert either_cache.get("key") is None

    def test_what_was_stored_before_freezing_expires(self, either_cache, frozen):
        either_cache.set("key", "value", 10)
        frozen(datetime.datetime.now(datetime.timezone.utc) + seconds(20))
        assert either_cache.get("key") is None

    def test_default_clock_does_not_freeze(self, cache, frozen):
        cache.set("key", "value", 1000)
        frozen(START + seconds(10**9))
        assert cache.get("key") == "value"
        cache.set("other", "value", 1000)
        frozen(START - seconds(10**9))
        assert cache.get_many(["key", "other"]) == {"key": "value", "other": "value"}


def operations(cache):
    """Return every operation that needs the time, on a key that is there, by name."""
    return {
        "get": lambda: cache.get("key"),
        "set": lambda: cache.set("key", "new"),
        "set without expiry": lambda: cache.set("key", "new", None),
        "add": lambda: cache.add("new", "new"),
        "touch": lambda: cache.touch("key", 1),
        "incr": lambda: cache.incr("key"),
        "has_key": lambda: cache.has_key("key"),
        "delete": lambda: cache.delete("key"),
        "get_many": lambda: cache.get_many(["key"]),
        "set_many": lambda: cache.set_many({"key": "new"}),
        "delete_many": lambda: cache.delete_many(["key"]),
    }


class TestCustomClock:
    @pytest.mark.parametrize("name", operations(None))
    def test_operation_reads_it_once(self, make_cache, said, name):
        cache = make_cache(CLOCK=PATH)
        cache.set("key", 1)
        before = Clock.reads
        operations(cache)[name]()
        assert Clock.reads == before + 1

    @pytest.mark.parametrize("name", operations(None))
    @pytest.mark.parametrize(
        "failure",
        [
            (LookupError("no time"), LookupError, "no time"),
            (KeyboardInterrupt("now"), KeyboardInterrupt, "now"),
            ("noon", TypeError, "CLOCK.*must return a number.*'noon'"),
            (None, TypeError, "CLOCK.*must return a number.*None"),
            (START, TypeError, "CLOCK.*must return a number.*2030"),
            (math.nan, ValueError, "CLOCK.*NaN"),
        ],
        ids=["raises", "interrupts", "text", "none", "datetime", "nan"],
    )
    def test_error_is_raised_and_nothing_changes(self, make_cache, said, name, failure):
        what, error, text = failure
        cache = make_cache(CLOCK=PATH)
        cache.set("key", 1)
        before = cache.stats()
        said(what)
        with pytest.raises(error, match=text):
            operations(cache)[name]()
        assert cache.stats() == before
        said(1000.0)
        assert cache.get_many(["key", "new"]) == {"key": 1}
        said(1299.0)
        assert cache.get("key") == 1
        said(1301.0)
        assert cache.get("key") is None

    @pytest.mark.local_only("a file has times to the year 10889")
    @pytest.mark.parametrize("number", [5, 5.5, Decimal("5.5"), True, -5, -5.5, 0, 10**9, 2**40], ids=repr)
    def test_any_number_is_accepted(self, make_cache, said, number):
        cache = make_cache(CLOCK=PATH)
        said(number)
        cache.set("key", "value", 10)
        assert cache.get("key") == "value"
        said(number + 9)
        assert cache.get("key") == "value"
        said(number + 11)
        assert cache.get("key") is None

    @pytest.mark.parametrize("number", [math.inf, 10.0**300, 2**63, 2**70, -math.inf, -(10.0**300), -(2**63)])
    def test_extreme_times_are_harmless(self, make_cache, said, number):
        cache = make_cache(CLOCK=PATH)
        cache.set("ever", 1, None)
        said(number)
        for name, operation in operations(cache).items():
            cache.set("key", 1, None)
            operation()
            assert cache.get("ever") == 1, name
        said(1000.0)
        cache.set("key", "value", 10)
        assert cache.get("key") == "value"

    def test_replaced_function_is_called_from_then_on(self, make_cache, said, monkeypatch):
        cache = make_cache(CLOCK=PATH)
        cache.set("key", "value", 10)
        monkeypatch.setattr(sys.modules[__name__], "read", lambda: 2000.0)
        assert cache.get("key") is None

    def test_missing_function_is_an_attribute_error(self, make_cache, said, monkeypatch):
        cache = make_cache(CLOCK=PATH)
        monkeypatch.delattr(sys.modules[__name__], "read")
        with pytest.raises(AttributeError, match="read"):
            cache.set("key", "value")

    @pytest.mark.parametrize(
        "path", ["no_such_module.read", f"{__name__}.no_such", f"{__name__}.START", "time"]
    )
    def test_path_of_no_function_is_improperly_configured(self, make_cache, path):
        with pytest.raises(ImproperlyConfigured, match=rf"CLOCK.* is '{path}'"):
            make_cache(CLOCK=path)

    def test_handles_of_one_store_have_clocks_of_their_own(self, make_cache, said):
        ours, system = make_cache(LOCATION="clocks", CLOCK=PATH), make_cache(LOCATION="clocks")
        # Both reckon in Unix seconds, and one is in 1970.
        ours.set("key", "value", 10)
        assert ours.get("key") == "value"
        assert system.get("key") is None
        system.set("key", "value", 10)
        said(time.time() + 5)
        assert ours.get("key") == "value"
        said(time.time() + 11)
        assert system.get("key") == "value"
        assert ours.get("key") is None


class TestExpiry:
    def test_entry_expires_exactly_at_its_time(self, make_cache, clock):
        cache = make_cache(CLOCK=clock.path)
        cache.set("key", "value", 10)
        clock.advance(9.999)
        assert cache.get("key") == "value"
        clock.advance(0.001)
        assert cache.get("key") is None

    @pytest.mark.local_only("reads take nothing out")
    def test_reading_an_expired_entry_is_a_miss(self, make_cache, clock):
        cache = make_cache(CLOCK=clock.path)
        cache.set("key", "value", 10)
        cache.set("other", "value", 10)
        assert cache.get("key") == "value"
        clock.advance(11)
        assert cache.get("key") is None
        assert cache.get_many(["other"]) == {}
        stats = cache.stats()
        assert (stats.hits, stats.misses, stats.expirations) == (1, 2, 2)
        assert (stats.evictions, stats.deletes) == (0, 0)
        assert (stats.entries, stats.memory) == (0, 0)

    @pytest.mark.local_only("what is found dead stays until its room is wanted")
    def test_expired_entry_cannot_be_deleted_touched_or_incremented(self, make_cache, clock):
        cache = make_cache(CLOCK=clock.path)
        cache.set_many({"deleted": 1, "touched": 1, "incremented": 1}, 10)
        clock.advance(11)
        assert not cache.delete("deleted")
        assert not cache.touch("touched", 100)
        with pytest.raises(ValueError, match="not found"):
            cache.incr("incremented")
        clock.advance(-11)
        # What was found dead does not come back.
        assert cache.get_many(["deleted", "touched"]) == {}
        assert cache.stats().deletes == 0

    @pytest.mark.local_only("policies and their sweeping")
    @pytest.mark.parametrize("eviction", ["adaptive", "s3-fifo", "lru"])
    @pytest.mark.parametrize("write", ["set", "overwrite", "add", "touch", "incr", "delete", "set_many"])
    def test_memory_of_expired_entries_is_freed_without_a_read(self, make_cache, clock, eviction, write):
        cache = make_cache(CLOCK=clock.path, EVICTION=eviction)
        dead = 1000
        cache.set("kept", 1, None)
        for number in range(dead):
            cache.set(f"dead{number}", "x" * 100, 10)
        full = cache.stats()
        assert full.entries == dead + 1
        clock.advance(11)
        writes = {
            "set": lambda number: cache.set(f"new{number}", 1, None),
            "overwrite": lambda number: cache.set("kept", number, None),
            "add": lambda number: cache.add(f"new{number}", 1, None),
            "touch": lambda number: cache.touch("kept", None),
            "incr": lambda number: cache.incr("kept"),
            "delete": lambda number: cache.delete("none"),
            "set_many": lambda number: cache.set_many({"kept": number}, None),
        }
        for done in itertools.count(1):
            writes[write](done)
            if cache.stats().expirations == dead:
                break
            # As many writes as there are entries should do.
            assert done < dead + 10
        stats = cache.stats()
        new = done if write in ("set", "add") else 0
        assert stats.entries == 1 + new
        assert stats.memory < full.memory / 2
        assert (stats.misses, stats.evictions, stats.deletes) == (0, 0, 0)
        assert cache.get("kept") is not None

    @pytest.mark.local_only("bounds of entries")
    def test_expired_entries_removed_for_room_are_not_counted_as_evictions(self, make_cache, clock):
        cache = make_cache(CLOCK=clock.path, MAX_ENTRIES=100)
        cache.set_many(dict.fromkeys(range(100), 1), 10)
        clock.advance(11)
        for number in range(100):
            cache.set(f"new{number}", 1, None)
        assert cache.get_many([f"new{number}" for number in range(100)]) == {f"new{n}": 1 for n in range(100)}
        stats = cache.stats()
        assert stats.entries == 100
        assert stats.expirations + stats.evictions == 100
        assert stats.expirations > 90

    def test_far_future_and_distant_past(self, make_cache, clock):
        cache = make_cache(CLOCK=clock.path)
        cache.set("huge", 1, 10**30)
        cache.set("past", 1, -(10**30))
        clock.advance(10**12)
        assert cache.get_many(["huge", "past"]) == {"huge": 1}


class TestWithoutFreezing:
    @isolated
    def test_system_s_clock_expires_entries(self):
        cache = LocalCache("", {})
        cache.set("short", 1, 0.05)
        cache.set("long", 1, 1000)
        cache.set("ever", 1, None)
        before = cache.get("short")
        start = time.monotonic()
        while cache.get("short") is not None:
            assert time.monotonic() - start < 20
        assert before == 1
        assert time.monotonic() - start > 0.02
        assert cache.get_many(["long", "ever"]) == {"long": 1, "ever": 1}
