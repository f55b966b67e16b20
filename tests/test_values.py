"""Values come out as they went in, and never share anything that can change with the caller."""

import array
import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import operator
import pathlib
import pickle
import re
import threading
import types
import uuid
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import User
from django.db import models
from django.http import HttpResponse
from django.utils import translation
from django.utils.functional import Promise
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy
from hypothesis import given
from hypothesis import strategies as st

# --- types of a project's own, found by pickle in this module -------------------------------------


class Color(enum.Enum):
    RED = "red"
    BLUE = [1, 2]  # noqa: RUF012 (a value that can change)


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Flags(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


class Status(models.TextChoices):
    DRAFT = "d", "Draft"


Point = collections.namedtuple("Point", "x y")


@dataclasses.dataclass
class Box:
    content: object


@dataclasses.dataclass(frozen=True)
class FrozenBox:
    content: object


@dataclasses.dataclass(frozen=True)
class HashableBox:
    """Hashable, and what it holds can change (`compare=False` keeps that out of the hash)."""

    name: str
    content: list = dataclasses.field(compare=False)


class Slotted:
    __slots__ = ("content",)

    def __init__(self, content):
        self.content = content


class MyDict(dict):
    pass


class MyList(list):
    pass


class MySet(set):
    pass


class MyFrozenSet(frozenset):
    pass


class MyTuple(tuple):
    pass


class MyStr(str):
    pass


class MyInt(int):
    pass


class MyFloat(float):
    pass


class MyBytes(bytes):
    pass


class MyBytearray(bytearray):
    pass


class MyDate(dt.date):
    pass


class MyDatetime(dt.datetime):
    pass


class MyDecimal(decimal.Decimal):
    pass


class MyUUID(uuid.UUID):
    pass


class MutableZone(dt.tzinfo):
    """A time zone that can be changed."""

    def __init__(self, hours=1):
        self.hours = hours

    def utcoffset(self, when):
        return dt.timedelta(hours=self.hours)

    def dst(self, when):
        return None

    def tzname(self, when):
        return f"+{self.hours}"


class Article(models.Model):
    """Never in a database."""

    title = models.CharField(max_length=10)
    tags = models.JSONField(default=list)

    class Meta:
        app_label = "auth"
        managed = False


class Unreadable:
    """Can be pickled, but not unpickled."""

    def __reduce__(self):
        return operator.truediv, (1, 0)


def with_attributes(value, **attributes):
    vars(value).update(attributes)
    return value


# --- what a value is, in full ---------------------------------------------------------------------


def describe(value, seen=None):  # noqa: PLR0911 (one for each kind of value)
    """Tell all of a value: exact types, order, attributes, and which parts of it are one object.

    Two values have equal descriptions if no code could tell one from the other but by comparing addresses.
    """
    seen = {} if seen is None else seen
    kind = type(value)
    if parts_of(value) is not None:
        if id(value) in seen:
            return "again", seen[id(value)]
        seen[id(value)] = len(seen)
    attributes = {name: describe(inner, seen) for name, inner in attributes_of(value).items()}
    if isinstance(value, dict):
        items = [(describe(key, seen), describe(inner, seen)) for key, inner in value.items()]
        factory = getattr(value, "default_factory", None)
        return kind, items, factory, attributes
    if isinstance(value, (list, tuple, collections.deque)):
        return kind, [describe(inner, seen) for inner in value], attributes
    if isinstance(value, (set, frozenset)):
        return kind, sorted((describe(inner) for inner in value), key=repr), attributes
    if isinstance(value, str):
        return kind, "".join(value), attributes
    if isinstance(value, (dt.datetime, dt.time)):
        return kind, str(value), value.fold, describe(value.tzinfo, seen), attributes
    if attributes and not isinstance(value, (bytes, int, float)):
        return kind, attributes
    return kind, repr(value), attributes


def attributes_of(value):
    if isinstance(value, (enum.Enum, type, types.FunctionType, ZoneInfo, functools.partial)):
        return {}
    attributes = dict(getattr(value, "__dict__", {}))
    for name in getattr(type(value), "__slots__", ()):
        if isinstance(value, Slotted):
            attributes[name] = getattr(value, name)
    # Of a model instance: compared by identity; and what Django's own pickling adds.
    for name in ("_state", "_django_version"):
        attributes.pop(name, None)
    return attributes


def parts_of(value):
    """Return what a changeable object holds; None if the object itself can't be changed."""
    if isinstance(value, (enum.Enum, type, types.FunctionType, ZoneInfo, functools.partial)):
        return None
    attributes = list(attributes_of(value).values())
    if isinstance(value, dict):
        return [*value.keys(), *value.values(), *attributes]
    if isinstance(value, (list, set, collections.deque)):
        return [*value, *attributes]
    if isinstance(value, (bytearray, array.array)):
        return attributes
    if hasattr(value, "__dict__") or isinstance(value, Slotted):
        return [*(value if isinstance(value, (tuple, frozenset)) else ()), *attributes]
    return None


def changeable_parts(value):
    """Return every object in a value that can be changed, each once."""
    found, waiting = {}, [value]
    while waiting:
        part = waiting.pop()
        if id(part) in found:
            continue
        inner = parts_of(part)
        if inner is not None:
            found[id(part)] = part
            waiting += inner
        elif isinstance(part, (tuple, frozenset)):
            waiting += part
        elif isinstance(part, (dt.datetime, dt.time)):
            waiting.append(part.tzinfo)
    return list(found.values())


def spoil(value):
    """Change everything in a value that can be changed; return how much that was."""
    parts = changeable_parts(value)
    for part in parts:
        if isinstance(part, dict):
            part["spoiled"] = 666
        elif isinstance(part, (list, collections.deque)):
            part.append("spoiled")
        elif isinstance(part, set):
            part.add("spoiled")
        elif isinstance(part, (bytearray, array.array)):
            part.append(66)
        elif isinstance(part, Slotted):
            part.content = "spoiled"
        else:
            vars(part)["spoiled"] = True
    return len(parts)


# --- values ---------------------------------------------------------------------------------------

WHEN = dt.datetime(2024, 3, 31, 2, 30, 59, 999_999)


def nested(levels, wrap):
    value = "core"
    for _ in range(levels):
        value = wrap(value)
    return value


def shared_list():
    inner = [1]
    return [inner, {"same": inner}, (inner,)]


def shared_tuple():
    inner = ([],)
    return {"a": inner, "b": inner}


def shared_dict_in_list():
    inner = {}
    return [inner] * 3


def list_in_itself():
    value = [1]
    value.append(value)
    return value


def dict_in_itself():
    value = {"a": []}
    value["self"] = {"deeper": value}
    return value


def tuple_in_its_list():
    value = ([],)
    value[0].append(value)
    return value


def self_containing_box():
    box = Box(None)
    box.content = [box]
    return box


def ordered():
    value = collections.OrderedDict.fromkeys("cab")
    value.move_to_end("c")
    return value


# Values nothing in which can be changed.
IMMUTABLE = {
    "None": lambda: None,
    "True": lambda: True,
    "False": lambda: False,
    "0": lambda: 0,
    "1": lambda: 1,
    "int64 min": lambda: -(2**63),
    "int of 1000 digits": lambda: 10**1000,
    "0.0": lambda: 0.0,
    "-0.0": lambda: -0.0,
    "nan": lambda: float("nan"),
    "infinity": lambda: float("-inf"),
    "smallest float": lambda: 5e-324,
    "complex": lambda: complex(-0.0, float("nan")),
    "empty str": str,
    "ASCII": lambda: "text",
    "Latin-1": lambda: "naïve",
    "two-byte str": lambda: "日本語",
    "four-byte str": lambda: "🐍",
    "NUL": lambda: "a\0b",
    "lone surrogate": lambda: "\ud800 and \udfff",
    "10 MB str": lambda: "ä" * 10_000_000,
    "empty bytes": bytes,
    "bytes": lambda: bytes(range(256)),
    "10 MB bytes": lambda: b"x" * 10_000_000,
    "SafeString": lambda: mark_safe("<b>"),
    "Ellipsis": lambda: ...,
    "NotImplemented": lambda: NotImplemented,
    "date": lambda: dt.date(1, 1, 1),
    "time": lambda: dt.time(23, 59, fold=1),
    "time in UTC": lambda: dt.time(1, tzinfo=dt.timezone.utc),
    "naive datetime": lambda: WHEN,
    "datetime in UTC": lambda: WHEN.replace(tzinfo=dt.timezone.utc),
    "datetime at an offset": lambda: WHEN.replace(tzinfo=dt.timezone(dt.timedelta(minutes=-7), "odd")),
    "datetime in a ZoneInfo": lambda: WHEN.replace(tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
    "timedelta": lambda: dt.timedelta(-1, 5, 7),
    "timezone": lambda: dt.timezone(dt.timedelta(hours=2)),
    "ZoneInfo": lambda: ZoneInfo("Asia/Kolkata"),
    "Decimal": lambda: decimal.Decimal("1.10"),
    "Decimal sNaN": lambda: decimal.Decimal("sNaN12"),
    "Decimal -0": lambda: decimal.Decimal("-0E+3"),
    "Fraction": lambda: fractions.Fraction(1, 3),
    "UUID": lambda: uuid.UUID(int=2**127),
    "enum": lambda: Color.RED,
    "enum of a list": lambda: Color.BLUE,
    "IntEnum": lambda: Level.HIGH,
    "Flag": lambda: Flags.READ | Flags.WRITE,
    "TextChoices": lambda: Status.DRAFT,
    "empty tuple": tuple,
    "tuple": lambda: (1, "a", None, (2.5, b"")),
    "tuple of 40 levels": lambda: nested(40, lambda inner: (inner,)),
    "namedtuple": lambda: Point(1, 2),
    "frozenset of tuples": lambda: frozenset({(1, "a"), (2, frozenset({3}))}),
    "range": lambda: range(5),
    "slice": lambda: slice(1, None, 2),
    "class": lambda: Box,
    "function": lambda: nested,
    "builtin": lambda: len,
    "partial": lambda: functools.partial(nested, 1),
    "regular expression": lambda: re.compile("a.c", re.IGNORECASE),
    "path": lambda: pathlib.PurePosixPath("a/b"),
}

# Values in which something can be changed.
MUTABLE = {
    "empty list": list,
    "empty dict": dict,
    "empty set": set,
    "list": lambda: [1, "a", None, 2.5, True],
    "list of lists": lambda: [[], [[]], [[1], [2]]],
    "dict of all": lambda: {"list": [{}], "dict": {"set": {1}}, "tuple": ([], {}), "none": None},
    "dict in odd order": lambda: {"z": 1, "a": 2, 3: 3, "m": 4},
    "dict keys of many types": lambda: {None: [], 1: [], 2.5: [], (1, "a"): [], frozenset({1}): [], b"b": []},
    "dict with NaN keys": lambda: {float("nan"): [1], float("nan"): [2]},
    "dict with a custom key": lambda: {HashableBox("key", [1]): 1},
    "dict with enum keys": lambda: {Color.RED: [], Level.LOW: []},
    "dict with str subclass keys": lambda: {MyStr("a"): [1], mark_safe("b"): [2]},
    "set": lambda: {1, "a", (2, 3), None, frozenset({4})},
    "set of NaN": lambda: {float("nan"), float("nan")},
    "set of custom objects": lambda: {HashableBox("a", [])},
    "tuple with a list": lambda: (1, [2], (3, [4])),
    "tuple with a tuple with a set": lambda: ((({1},),),),
    "bytearray": lambda: bytearray(b"abc"),
    "list of a bytearray": lambda: [bytearray(b"abc")],
    "array": lambda: array.array("i", [1, 2]),
    "deque": lambda: collections.deque([1, [2]], maxlen=5),
    "defaultdict": lambda: collections.defaultdict(list, a=[1]),
    "OrderedDict": ordered,
    "Counter": lambda: collections.Counter("abba"),
    "dict subclass": lambda: with_attributes(MyDict(a=[1]), more=[2]),
    "dict subclass in a dict": lambda: {"a": MyDict(b=[1]), "c": collections.OrderedDict(d=[])},
    "list subclass": lambda: with_attributes(MyList([1]), more=[2]),
    "set subclass": lambda: MySet({1}),
    "frozenset subclass": lambda: with_attributes(MyFrozenSet({1}), more=[2]),
    "tuple subclass": lambda: with_attributes(MyTuple((1, [2])), more=[2]),
    "str subclass": lambda: with_attributes(MyStr("text"), more=[2]),
    "int subclass": lambda: with_attributes(MyInt(5), more=[2]),
    "float subclass": lambda: with_attributes(MyFloat("-0.0"), more=[2]),
    "bytes subclass": lambda: with_attributes(MyBytes(b"abc"), more=[2]),
    "bytearray subclass": lambda: MyBytearray(b"abc"),
    "date subclass": lambda: MyDate(2024, 2, 29),
    "datetime subclass": lambda: MyDatetime(2024, 2, 29, tzinfo=dt.timezone.utc),
    "Decimal subclass": lambda: MyDecimal("1.10"),
    "namedtuple of lists": lambda: Point([1], [2]),
    "datetime in a zone that can change": lambda: WHEN.replace(tzinfo=MutableZone()),
    "time in a zone that can change": lambda: dt.time(1, tzinfo=MutableZone()),
    "such a datetime in a list": lambda: [WHEN.replace(tzinfo=MutableZone())],
    "such a datetime in a tuple": lambda: (WHEN.replace(tzinfo=MutableZone()),),
    "dataclass": lambda: Box([1]),
    "frozen dataclass": lambda: FrozenBox([1]),
    "dataclass in a list": lambda: [Box({}), Box({})],
    "slots": lambda: Slotted([1]),
    "namespace": lambda: types.SimpleNamespace(a=[1]),
    "user": lambda: User(pk=1, username="u", date_joined=WHEN.replace(tzinfo=dt.timezone.utc)),
    "unmanaged model": lambda: Article(pk=1, title="t", tags=["a", ["b"]]),
    "list of models": lambda: [Article(pk=pk, tags=[pk]) for pk in range(3)],
    "one list three times": shared_list,
    "one tuple twice": shared_tuple,
    "one dict three times": shared_dict_in_list,
    "one box twice": lambda: [Box([1])] * 2,
    "list in itself": list_in_itself,
    "dict in itself": dict_in_itself,
    "tuple in its list": tuple_in_its_list,
    "box in itself": self_containing_box,
    "100 lists": lambda: nested(100, lambda inner: [inner]),
    "100 dicts": lambda: nested(100, lambda inner: {"in": inner}),
    "100 tuples of lists": lambda: nested(50, lambda inner: ([inner],)),
    "dict of 1,000": lambda: {f"key {n}": [n] for n in range(1_000)},
    "JSON": lambda: {"items": [{"id": n, "tags": ["a", "b"], "price": 1.5} for n in range(50)]},
}

VALUES = IMMUTABLE | MUTABLE


# One of each way of keeping that can change: copied, pickled, pickled for the sake of identity.
SOME = {name: MUTABLE[name] for name in ("dict of all", "tuple with a list", "user", "one list three times")}


def every(values):
    return pytest.mark.parametrize("make", values.values(), ids=values)


WAYS_IN = {
    "set": lambda cache, value: cache.set("key", value),
    "add": lambda cache, value: cache.add("key", value),
    "set_many": lambda cache, value: cache.set_many({"key": value}),
    "get_or_set": lambda cache, value: cache.get_or_set("key", lambda: value),
}
WAYS_OUT = {
    "get": lambda cache: cache.get("key"),
    "get_many": lambda cache: cache.get_many(["key"])["key"],
    "get_or_set": lambda cache: cache.get_or_set("key", "not this"),
}
ways_in = pytest.mark.parametrize("put", WAYS_IN.values(), ids=WAYS_IN)
ways_out = pytest.mark.parametrize("take", WAYS_OUT.values(), ids=WAYS_OUT)


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
    def test_tells_apart(self, one, other):
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
    def test_immutable_values_have_nothing_to_change(self, make):
        assert changeable_parts(make()) == []


class TestRoundTrip:
    @every(VALUES)
    def test_value_comes_out_as_it_went_in(self, cache, make):
        cache.set("key", make())
        assert describe(cache.get("key")) == describe(make())

    @every(VALUES)
    def test_value_comes_out_as_from_locmem(self, cache, locmem, make):
        value = make()
        cache.set("key", value)
        locmem.set("key", value)
        assert describe(cache.get("key")) == describe(locmem.get("key"))

    @ways_in
    @ways_out
    @every(SOME)
    def test_every_way_in_and_out_keeps_the_value(self, cache, put, take, make):
        put(cache, make())
        assert describe(take(cache)) == describe(make())

    @pytest.mark.parametrize("member", [Color.RED, Color.BLUE, Level.HIGH, Status.DRAFT], ids=str)
    def test_enum_member_stays_the_one_member(self, cache, member):
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
    def test_changing_what_was_passed_changes_nothing(self, cache, make):
        value = make()
        cache.set("key", value)
        spoil(value)
        assert describe(cache.get("key")) == describe(make())

    @every(MUTABLE)
    def test_changing_what_came_out_changes_nothing(self, cache, make):
        cache.set("key", make())
        spoil(cache.get("key"))
        assert describe(cache.get("key")) == describe(make())

    @every(MUTABLE)
    def test_nothing_that_can_change_comes_out_twice(self, cache, make):
        value = make()
        cache.set("key", value)
        first, second = cache.get("key"), cache.get("key")
        parts = [changeable_parts(each) for each in (value, first, second)]
        assert len(parts[0]) == len(parts[1]) == len(parts[2]) > 0
        assert len({id(part) for each in parts for part in each}) == 3 * len(parts[0])

    @ways_in
    @every(SOME)
    def test_every_way_in_takes_a_copy(self, cache, put, make):
        value = make()
        put(cache, value)
        spoil(value)
        assert describe(cache.get("key")) == describe(make())

    @ways_out
    @every(SOME)
    def test_every_way_out_gives_a_copy(self, cache, take, make):
        cache.set("key", make())
        spoil(take(cache))
        assert describe(cache.get("key")) == describe(make())

    def test_get_or_set_gives_a_copy_of_what_it_stored(self, cache):
        default = [1]
        given = cache.get_or_set("key", default)
        default.append(2)
        given.append(3)
        assert cache.get("key") == [1]

    def test_incr_gives_a_copy_of_what_it_stored(self, cache):
        cache.set("key", [[1]])
        total = cache.incr("key", [[2]])
        total[0].append("spoiled")
        total[1].append("spoiled")
        assert cache.get("key") == [[1], [2]]

    def test_time_zone_that_can_change_is_not_shared(self, cache):
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

    def test_list_in_itself_comes_out_in_itself(self, cache):
        cache.set("key", list_in_itself())
        value = cache.get("key")
        assert value[1] is value

    def test_container_emptied_and_reused_is_not_taken_for_the_same(self, cache):
        # The address of one list may be given to the next.
        for number in range(100):
            cache.set("key", [[number], [number]])
            value = cache.get("key")
            assert value == [[number], [number]]
            assert value[0] is not value[1]


class TestImmutableValues:
    """Costs no copy, whatever the size: what the documentation promises."""

    @pytest.mark.parametrize(
        "name",
        [
            "int of 1000 digits",
            "10 MB str",
            "10 MB bytes",
            "SafeString",
            "Decimal",
            "UUID",
            "datetime in UTC",
            "datetime in a ZoneInfo",
            "tuple",
            "frozenset of tuples",
        ],
    )
    def test_kept_by_reference(self, cache, name):
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
    def test_come_out_whole_and_as_a_copy(self, cache, make):
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
    def test_comes_out_whole(self, cache, wrap, levels):
        cache.set("key", nested(levels, wrap))
        assert repr(cache.get("key")) == repr(nested(levels, wrap))

    @pytest.mark.parametrize("levels", [5_000, 100_000])
    @pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
    def test_is_stored_or_refused_but_never_kills(self, cache, wrap, levels):
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


class TestUnpicklable:
    """Fails where it is stored, as Django's tests want it, and leaves alone what is there."""

    @staticmethod
    def local_object():
        class Local:
            pass

        return Local()

    VALUES = {  # noqa: RUF012
        "lambda": lambda: lambda: None,
        "local object": local_object,
        "generator": lambda: (x for x in ()),
        "lock": threading.Lock,
        "memoryview": lambda: memoryview(b"abc"),
        "module": lambda: pickle,
        "dict view": {}.keys,
    }
    values = pytest.mark.parametrize("make", VALUES.values(), ids=VALUES)
    wraps = pytest.mark.parametrize(
        "wrap",
        [lambda v: v, lambda v: [v], lambda v: {"a": [1, v]}, lambda v: ([], v), Box],
        ids=["alone", "list", "dict", "tuple", "box"],
    )
    stores = pytest.mark.parametrize(
        "store",
        [
            lambda cache, value: cache.set("key", value),
            lambda cache, value: cache.add("key", value),
            lambda cache, value: cache.set_many({"key": value}),
            lambda cache, value: cache.get_or_set("missing", value, 5),
            lambda cache, value: cache.get_or_set("missing", lambda: value),
        ],
        ids=["set", "add", "set_many", "get_or_set", "get_or_set callable"],
    )

    @values
    @wraps
    def test_raises_what_locmem_raises(self, cache, locmem, make, wrap):
        value = wrap(make())
        with pytest.raises((TypeError, AttributeError, pickle.PicklingError)) as ours:
            cache.set("key", value)
        with pytest.raises((TypeError, AttributeError, pickle.PicklingError)) as django:
            locmem.set("key", value)
        assert type(ours.value) is type(django.value)
        assert str(ours.value) == str(django.value)

    @stores
    def test_is_refused_at_once_and_the_old_value_stays(self, cache, store):
        cache.set("key", ["old"])
        with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
            store(cache, [1, threading.Lock()])
        assert cache.get("key") == ["old"]
        assert not cache.has_key("missing")
        assert cache.stats().sets == 1

    def test_open_file_is_refused(self, cache, tmp_path):
        with (tmp_path / "file").open("w") as file, pytest.raises(TypeError, match="cannot pickle"):
            cache.set("key", file)
        assert "key" not in cache

    @stores
    def test_error_of_the_value_itself_comes_through(self, cache, store):
        class Refusing:
            def __reduce__(self):
                raise LookupError("not me")

        cache.set("key", "old")
        with pytest.raises(LookupError, match="not me"):
            store(cache, [Refusing()])
        assert cache.get("key") == "old"

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError])
    def test_interruption_comes_through(self, cache, error):
        class Interrupting:
            def __reduce__(self):
                raise error

        cache.set("key", "old")
        with pytest.raises(error):
            cache.set("key", Interrupting())
        assert cache.get("key") == "old"

    def test_set_many_keeps_what_came_before(self, cache, locmem):
        for each in (cache, locmem):
            with pytest.raises(TypeError):
                each.set_many({"a": 1, "b": threading.Lock(), "c": 3})
            assert each.get_many("abc") == {"a": 1}

    def test_sum_that_cannot_be_pickled_leaves_the_old_value(self, cache):
        cache.set("key", [1])
        with pytest.raises(TypeError, match="cannot pickle"):
            cache.incr("key", [threading.Lock()])
        assert cache.get("key") == [1]

    @ways_out
    def test_value_that_cannot_be_read_raises_what_it_raises(self, cache, take):
        cache.set("key", Unreadable())
        with pytest.raises(ZeroDivisionError):
            take(cache)
        assert "key" in cache


def texts(**kwargs):
    # Lone surrogates too.
    return st.text(st.characters(exclude_categories=()), **kwargs)


ZONES = st.sampled_from(
    [None, dt.timezone.utc, dt.timezone(dt.timedelta(hours=-3)), ZoneInfo("America/Lima"), MutableZone(2)]
)
HASHABLE_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    texts(),
    st.binary(),
    st.dates(),
    st.times(),
    st.datetimes(),
    st.timedeltas(),
    st.uuids(),
    st.decimals(allow_nan=False),
    st.sampled_from([Color.RED, Level.LOW, Status.DRAFT, ..., int]),
    texts().map(mark_safe),
    texts().map(MyStr),
    st.integers().map(MyInt),
)
HASHABLES = st.recursive(
    HASHABLE_LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(tuple),
        st.frozensets(inner, max_size=4),
        st.builds(Point, inner, inner),
        st.lists(inner, max_size=3).map(MyTuple),
    ),
    max_leaves=6,
)
LEAVES = st.one_of(
    HASHABLES,
    st.decimals(),
    st.binary().map(bytearray),
    st.sets(HASHABLES, max_size=4),
    st.builds(dt.datetime.replace, st.datetimes(), tzinfo=ZONES, fold=st.integers(0, 1)),
)


def containers(inner):
    lists = st.lists(inner, max_size=5)
    dicts = st.dictionaries(HASHABLES, inner, max_size=5)
    return st.one_of(
        lists,
        dicts,
        lists.map(tuple),
        lists.map(MyList),
        lists.map(collections.deque),
        dicts.map(collections.OrderedDict),
        dicts.map(MyDict),
        dicts.map(functools.partial(collections.defaultdict, list)),
        st.builds(Box, inner),
        st.builds(Point, inner, inner),
        # One object in several places.
        inner.map(lambda value: [value, value]),
        inner.map(lambda value: {"a": value, "b": (value,)}),
    )


NESTED = st.recursive(LEAVES, containers, max_leaves=30)


class TestAnyValue:
    @given(NESTED)
    def test_comes_out_as_it_went_in_and_as_from_locmem(self, cache, locmem, value):
        before = describe(value)
        cache.set("key", value)
        locmem.set("key", value)
        assert describe(value) == before
        assert describe(cache.get("key")) == before
        assert describe(locmem.get("key")) == before

    @given(containers(NESTED))
    def test_shares_nothing_that_can_change(self, cache, value):
        before = describe(value)
        cache.set("key", value)
        first = cache.get("key")
        spoiled = spoil(first)
        assert describe(cache.get("key")) == before
        assert spoil(value) == spoiled
        assert describe(cache.get("key")) == before
