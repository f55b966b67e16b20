"""Sample values of all kinds, and functions that describe and change values."""

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
import re
import types
import uuid
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import User
from django.db import models
from django.utils.safestring import mark_safe

# --- types of a project, which pickle finds in this module ----------------------------------------


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
    """Hashable, with mutable content (`compare=False` excludes it from the hash)."""

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


# --- descriptions of values -----------------------------------------------------------------------


def describe(value, seen=None):  # noqa: PLR0911 (one for each kind of value)
    """Describe a value in full: exact types, order, attributes, and which parts are the same object.

    Two values have equal descriptions if code can distinguish them only by their addresses.
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
    """Return the contents of a mutable object; None if the object itself is immutable."""
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
    """Return every mutable object in a value, each once."""
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
    """Change every mutable object in a value; return how many there were."""
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


# Values without any mutable part.
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
    "3 MB str": lambda: "ä" * 3_000_000,
    "empty bytes": bytes,
    "bytes": lambda: bytes(range(256)),
    "3 MB bytes": lambda: b"x" * 3_000_000,
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

# Values with mutable parts.
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


# One for each way of storing mutable values: copied, pickled, pickled to keep identities.
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
