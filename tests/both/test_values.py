"""Values are returned as they were stored, and share no mutable object with the caller."""

import collections
import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.utils import translation
from django.utils.functional import Promise
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy

from support.sample_values import (
    IMMUTABLE,
    MUTABLE,
    SOME,
    VALUES,
    WHEN,
    Article,
    Box,
    Color,
    FrozenBox,
    Level,
    MutableZone,
    MyStr,
    Status,
    changeable_parts,
    describe,
    every,
    list_in_itself,
    nested,
    spoil,
    ways_in,
    ways_out,
    with_attributes,
)


class TestDescription:
    """The measure used below sees what it has to see."""

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (1, True),
            (1, 1.0),
            (0.0, -0.0),
            ("a", mark_safe("a")),
            ([1], (1,)),
            ({1: 1, 2: 2}, {2: 2, 1: 1}),
            ({1}, frozenset({1})),
            ({"a": 1}, collections.OrderedDict(a=1)),
            (collections.defaultdict(list), collections.defaultdict(dict)),
            (MyStr("a"), with_attributes(MyStr("a"), b=1)),
            ([[1], [1]], [[1]] * 2),
            (WHEN, WHEN.replace(fold=1)),
            (WHEN.replace(tzinfo=dt.timezone.utc), WHEN.replace(tzinfo=ZoneInfo("UTC"))),
            (Box([1]), Box([2])),
            (Article(pk=1, tags=[1]), Article(pk=1, tags=[2])),
            (WHEN.replace(tzinfo=MutableZone(1)), WHEN.replace(tzinfo=with_attributes(MutableZone(1), a=1))),
        ],
        ids=repr,
    )
    def test_distinguishes(self, one, other):
        assert describe(one) != describe(other)

    @every(VALUES)
    def test_does_not_depend_on_addresses(self, make):
        assert describe(make()) == describe(make())

    @every(MUTABLE)
    def test_shows_every_change(self, make):
        value = make()
        before = describe(value)
        assert spoil(value) > 0
        assert describe(value) != before

    @every(IMMUTABLE)
    def test_immutable_values_have_no_mutable_part(self, make):
        assert changeable_parts(make()) == []


class TestRoundTrip:
    @every(VALUES)
    def test_value_is_returned_as_stored(self, cache, make):
        cache.set("key", make())
        assert describe(cache.get("key")) == describe(make())

    @every(VALUES)
    def test_value_is_returned_as_by_locmem(self, cache, locmem, make):
        value = make()
        cache.set("key", value)
        locmem.set("key", value)
        assert describe(cache.get("key")) == describe(locmem.get("key"))

    @ways_in
    @ways_out
    @every(SOME)
    def test_every_write_and_read_keeps_the_value(self, cache, put, take, make):
        put(cache, make())
        assert describe(take(cache)) == describe(make())

    @pytest.mark.parametrize("member", [Color.RED, Color.BLUE, Level.HIGH, Status.DRAFT], ids=str)
    def test_enum_member_is_the_same_object(self, cache, member):
        cache.set("key", [member])
        assert cache.get("key")[0] is member

    def test_safe_string_stays_safe(self, cache):
        cache.set_many({"alone": mark_safe("<i>"), "inside": [mark_safe("<b>")]})
        assert type(cache.get("alone")) is SafeString
        assert type(cache.get("inside")[0]) is SafeString

    def test_lazy_translation_stays_lazy(self, cache):
        cache.set("key", [gettext_lazy("Monday")])
        (text,) = cache.get("key")
        assert isinstance(text, Promise)
        with translation.override("de"):
            assert text == "Montag"

    def test_model_instance_equals_and_keeps_its_state(self, cache):
        user = User(pk=7, username="u")
        user._state.adding = False
        cache.set("key", user)
        copy = cache.get("key")
        assert copy == user
        assert copy is not user
        assert copy._state.adding is False

    def test_http_response_survives(self, cache):
        response = HttpResponse("body", headers={"X-Header": "1"})
        response.set_cookie("name", "value")
        cache.set("key", response)
        copy = cache.get("key")
        assert copy.content == b"body"
        assert copy["X-Header"] == "1"
        assert copy.cookies["name"].value == "value"

    def test_exception_survives(self, cache):
        cache.set("key", KeyError("a", [1]))
        copy = cache.get("key")
        assert type(copy) is KeyError
        assert copy.args == ("a", [1])

    def test_defaultdict_keeps_working(self, cache):
        cache.set("key", collections.defaultdict(list))
        cache.get("key")["new"].append(1)
        assert cache.get("key") == {}

    def test_unequal_nan_keys_stay_two(self, cache):
        cache.set("key", {float("nan"): [1], float("nan"): [2]})
        assert list(cache.get("key").values()) == [[1], [2]]


class TestNoAliasing:
    @every(MUTABLE)
    def test_changing_a_stored_value_does_not_change_the_cache(self, cache, make):
        value = make()
        cache.set("key", value)
        spoil(value)
        assert describe(cache.get("key")) == describe(make())

    @every(MUTABLE)
    def test_changing_a_returned_value_does_not_change_the_cache(self, cache, make):
        cache.set("key", make())
        spoil(cache.get("key"))
        assert describe(cache.get("key")) == describe(make())

    @every(MUTABLE)
    def test_no_mutable_object_is_returned_twice(self, cache, make):
        value = make()
        cache.set("key", value)
        first, second = cache.get("key"), cache.get("key")
        parts = [changeable_parts(each) for each in (value, first, second)]
        assert len(parts[0]) == len(parts[1]) == len(parts[2]) > 0
        assert len({id(part) for each in parts for part in each}) == 3 * len(parts[0])

    @ways_in
    @every(SOME)
    def test_every_write_stores_a_copy(self, cache, put, make):
        value = make()
        put(cache, value)
        spoil(value)
        assert describe(cache.get("key")) == describe(make())

    @ways_out
    @every(SOME)
    def test_every_read_returns_a_copy(self, cache, take, make):
        cache.set("key", make())
        spoil(take(cache))
        assert describe(cache.get("key")) == describe(make())

    def test_get_or_set_returns_a_copy_of_the_stored_value(self, cache):
        default = [1]
        given = cache.get_or_set("key", default)
        default.append(2)
        given.append(3)
        assert cache.get("key") == [1]

    @pytest.mark.memory_only("a server adds whole numbers")
    def test_incr_returns_a_copy_of_the_stored_value(self, cache):
        cache.set("key", [[1]])
        total = cache.incr("key", [[2]])
        total[0].append("spoiled")
        total[1].append("spoiled")
        assert cache.get("key") == [[1], [2]]

    def test_mutable_time_zone_is_not_shared(self, cache):
        zone = MutableZone(hours=1)
        cache.set("key", {"at": WHEN.replace(tzinfo=zone)})
        zone.hours = 5
        assert cache.get("key")["at"].utcoffset() == dt.timedelta(hours=1)
        cache.get("key")["at"].tzinfo.hours = 6
        assert cache.get("key")["at"].utcoffset() == dt.timedelta(hours=1)

    def test_same_value_under_two_keys_is_not_shared(self, cache):
        value = {"a": [1]}
        cache.set_many({"one": value, "two": value})
        cache.get("one")["a"].append(2)
        assert cache.get_many(["one", "two"]) == {"one": {"a": [1]}, "two": {"a": [1]}}


class TestIdentityInside:
    @pytest.mark.parametrize("wrap", [list, tuple, lambda pair: dict(enumerate(pair)), collections.deque])
    @pytest.mark.parametrize("make", [list, dict, set, bytearray, lambda: ([],), lambda: Box([1])])
    def test_one_object_twice_stays_one_object(self, cache, wrap, make):
        inner = make()
        cache.set("key", wrap([inner, inner]))
        value = cache.get("key")
        assert value[0] is value[1]
        assert value[0] is not inner

    def test_two_equal_objects_stay_two(self, cache):
        cache.set("key", [[], []])
        value = cache.get("key")
        value[0].append(1)
        assert value == [[1], []]

    def test_one_object_far_apart_stays_one_object(self, cache):
        inner = {"a": 1}
        cache.set("key", {"near": inner, "far": [({"deep": [inner]},)]})
        value = cache.get("key")
        value["near"]["a"] = 2
        assert value["far"][0][0]["deep"][0]["a"] == 2

    def test_list_that_contains_itself(self, cache):
        cache.set("key", list_in_itself())
        value = cache.get("key")
        assert value[1] is value

    def test_container_that_is_emptied_and_reused_is_not_the_same(self, cache):
        # The address of one list may be given to the next.
        for number in range(100):
            cache.set("key", [[number], [number]])
            value = cache.get("key")
            assert value == [[number], [number]]
            assert value[0] is not value[1]


class TestImmutableValues:
    """Costs no copy, whatever the size: what the documentation promises."""

    @pytest.mark.local_only("values are kept as bytes")
    @pytest.mark.parametrize(
        "name",
        [
            "int of 1000 digits",
            "3 MB str",
            "3 MB bytes",
            "SafeString",
            "Decimal",
            "UUID",
            "datetime in UTC",
            "datetime in a ZoneInfo",
            "tuple",
            "frozenset of tuples",
        ],
    )
    def test_are_stored_by_reference(self, cache, name):
        value = VALUES[name]()
        cache.set_many({"alone": value, "inside": [value]})
        assert cache.get("alone") is value
        assert cache.get("inside")[0] is value


class TestLargeValues:
    MAKERS = {  # noqa: RUF012
        "dict of lists": lambda: {f"key {n}": [n] for n in range(100_000)},
        "list of lists": lambda: [[n] for n in range(100_000)],
        "dict": lambda: dict.fromkeys(range(100_000)),
        "set": lambda: set(range(100_000)),
        "tuple of lists": lambda: tuple([n] for n in range(100_000)),
        "list of boxes": lambda: [Box(n) for n in range(100_000)],
    }

    @pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
    def test_are_returned_complete_and_as_a_copy(self, cache, make):
        value = make()
        cache.set("key", value)
        copy = cache.get("key")
        assert copy == value
        assert type(copy) is type(value)
        assert copy is not value
        assert list(copy) == list(value)


class TestImmutablePartsInManyPlaces:
    """One object in many places is kept once and takes memory once, as in a pickle."""

    LEVELS = 24

    @pytest.mark.parametrize(
        "wrap", [lambda pair: pair, lambda pair: [pair], Box], ids=["alone", "list", "box"]
    )
    def test_tuple_of_one_tuple_twice_of_one_tuple_twice(self, cache, wrap):
        value = ("core",)
        for _ in range(self.LEVELS):
            value = (value, value)
        cache.set("key", wrap(value))
        value = cache.get("key")
        assert value is not None
        value = value.content if type(value) is Box else value[0] if type(value) is list else value
        for _ in range(self.LEVELS):
            assert value[0] is value[1]
            value = value[0]
        assert value == ("core",)

    @pytest.mark.memory_only("copies that a flush made invalid take room until it is wanted")
    @pytest.mark.parametrize(
        "part", ["x" * 100_000, b"x" * 100_000, ("x" * 100_000,)], ids=["str", "bytes", "tuple"]
    )
    @pytest.mark.parametrize(
        "wrap", [list, tuple, lambda parts: dict(enumerate(parts))], ids=["list", "tuple", "dict"]
    )
    def test_large_part_ten_thousand_times(self, cache, part, wrap):
        cache.set("key", wrap([part] * 10_000))
        assert cache.get("key") == wrap([part] * 10_000)
        assert cache.stats().memory < 2_000_000


class TestDeepNesting:
    WRAPS = {  # noqa: RUF012
        "lists": lambda inner: [inner],
        "tuples": lambda inner: (inner,),
        "dicts": lambda inner: {0: inner},
        "tuples and lists": lambda inner: ([inner],),
        "frozensets": lambda inner: frozenset([inner]),
        "boxes": Box,
        "tuples and boxes": lambda inner: (FrozenBox(inner),),
    }

    @staticmethod
    def unwrap(value):
        if isinstance(value, (Box, FrozenBox)):
            return value.content
        return next(iter(value)) if isinstance(value, frozenset) else value[0]

    @pytest.mark.parametrize("levels", [31, 32, 33, 34, 63, 64, 65, 66, 100])
    @pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
    def test_is_returned_complete(self, cache, wrap, levels):
        cache.set("key", nested(levels, wrap))
        assert repr(cache.get("key")) == repr(nested(levels, wrap))

    @pytest.mark.parametrize("levels", [5_000, 100_000])
    @pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
    def test_is_stored_or_refused_without_a_crash(self, cache, wrap, levels):
        cache.set("key", "old")
        try:
            cache.set("key", nested(levels, wrap))
        except RecursionError:
            assert cache.get("key") == "old"
            return
        value = cache.get("key")
        depth = 0
        while value != "core":
            value = self.unwrap(value)
            depth += 1
        assert depth in (levels, 2 * levels)
