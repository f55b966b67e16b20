"""The encoding of arguments: typed, injective, printable, and defined by the value alone."""

import datetime
import decimal
import itertools
import json
import math
import pickle
import struct
import subprocess
import sys
import uuid
import zoneinfo
from collections import OrderedDict, namedtuple
from enum import Enum, Flag, IntEnum

import pytest
from django.contrib.auth.models import AnonymousUser, Group, User
from django.db import models
from django.utils.functional import SimpleLazyObject
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy
from hypothesis import example, given
from hypothesis import strategies as st

from nearcache.django import cached

UTC = datetime.timezone.utc
HERE = __name__


class Colour(Enum):
    RED = 1
    SCARLET = 1
    GREEN = "RED"


class Shade(Enum):
    RED = 1


class Number(IntEnum):
    ONE = 1


class Access(Flag):
    READ = 1
    WRITE = 2


class Labelled(Enum):
    RED = 1
    GREEN = 2

    @property
    def name(self):
        return "colour"


class Granted(Flag):
    READ = 1
    WRITE = 2

    @property
    def value(self):
        return 0


class Größe(Enum):  # noqa: PLC2401
    KLEIN = 1


class Straße(models.Model):  # noqa: PLC2401
    class Meta:
        app_label = "orte"


class Point:
    def __init__(self, *key):
        self.key = key

    def __cache_key__(self):
        return self.key


class OtherPoint(Point):
    pass


class Pair(namedtuple("Pair", "a b")):
    pass


class Plain:
    pass


@cached
def function(a, *args, **kwargs):
    return None


@cached
def two(a, b):
    return None


@cached
def größe(a):  # noqa: PLC2401
    return None


def encoding(value):
    """Return the part of a key that stands for an argument. It must not be hashed."""
    key = function.key(value)
    assert key.startswith(f"{HERE}:function("), key
    return key.removeprefix(f"{HERE}:function(").removesuffix(",(),{})")


def saved(model, pk):
    """Return an instance as if it were read from the database."""
    instance = model(pk=pk)
    instance._state.adding = False
    return instance


EXAMPLES = [
    (None, "None"),
    (True, "True"),
    (1, "1"),
    (-5, "-5"),
    (10**5000, hex(10**5000)),
    (1.0, "1.0"),
    (1e300, "1e+300"),
    (float("-inf"), "-inf"),
    (-0.0, "-0.0"),
    ("1", "'1'"),
    ("it's\n", '"it\'s\\n"'),
    ("\u00e9\ud800", "'\\xe9\\ud800'"),
    (b"1\xff", "b'1\\xff'"),
    (decimal.Decimal("1.50"), "Decimal(1.50)"),
    (decimal.Decimal("1e50"), "Decimal(1E+50)"),
    (uuid.UUID(int=5), "UUID(00000000000000000000000000000005)"),
    (datetime.date(2024, 2, 29), "date(2024-02-29)"),
    (datetime.datetime(2024, 2, 29, 1), "datetime(2024-02-29T01:00:00)"),
    (
        datetime.datetime(2024, 2, 29, 1, tzinfo=UTC),
        "datetime(2024-02-29T01:00:00,timezone(timedelta(0,0,0),'UTC'))",
    ),
    (
        datetime.datetime(2024, 2, 29, 1, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Paris")),
        "datetime(2024-02-29T01:00:00,fold,ZoneInfo('Europe/Paris'))",
    ),
    (datetime.time(1, 2, 3, 4), "time(01:02:03.000004)"),
    (datetime.timedelta(days=-1, microseconds=1), "timedelta(-1,0,1)"),
    (Colour.RED, f"{HERE}:Colour['RED']"),
    (Colour.SCARLET, f"{HERE}:Colour['RED']"),
    (Number.ONE, f"{HERE}:Number['ONE']"),
    (Access.READ | Access.WRITE, f"{HERE}:Access[3]"),
    (Labelled.GREEN, f"{HERE}:Labelled['GREEN']"),
    (Granted.WRITE, f"{HERE}:Granted[2]"),
    ((), "()"),
    ((1,), "(1)"),
    ([1, [2]], "[1,[2]]"),
    ({"b": 1, "a": 2}, "{'a'=2,'b'=1}"),
    ({2, 1}, "set(1,2)"),
    (frozenset({"a"}), "frozenset('a')"),
    (Plain, f"class({HERE}:Plain)"),
    (Point(1, "a"), f"{HERE}:Point((1,'a'))"),
    (Größe.KLEIN, f"'{HERE}':'Gr\\xf6\\xdfe'['KLEIN']"),
    (saved(Straße, 5), "'orte.Stra\\xdfe'(5)"),
    (saved(User, 5), "auth.User(5)"),
    (SimpleLazyObject(lambda: saved(User, 5)), "auth.User(5)"),
    (AnonymousUser(), "django.contrib.auth.models:AnonymousUser()"),
    (SimpleLazyObject(AnonymousUser), "django.contrib.auth.models:AnonymousUser()"),
    (SimpleLazyObject(lambda: "a"), "'a'"),
]


@pytest.mark.parametrize(("value", "text"), EXAMPLES, ids=[text[:40] for _, text in EXAMPLES])
def test_examples(value, text):
    if len(text) > 100:
        # The key is hashed.
        assert function.key(value) != function.key(value + 1)
    else:
        assert encoding(value) == text


def test_function_with_a_name_that_is_not_ascii():
    assert größe.key(1) == f"'{HERE}':'gr\\xf6\\xdfe'(1)"


def test_examples_differ():
    values = [value for value, _ in EXAMPLES]
    # Of RED and SCARLET, of a user, and of an anonymous user, each as it is and as a lazy object.
    repeated = 3
    assert len({function.key(value) for value in values}) == len(values) - repeated


@pytest.mark.parametrize(
    "values",
    [
        (1, True, 1.0, "1", b"1", decimal.Decimal(1), Number.ONE, Colour.RED, Access(1), (1,), [1], {1}),
        (None, "None", (), [], {}, set(), frozenset(), "", b"", 0, False),
        (Colour.RED, Colour.GREEN, Shade.RED, Colour, Shade),
        (decimal.Decimal("1"), decimal.Decimal("1.0"), decimal.Decimal("NaN"), decimal.Decimal("sNaN")),
        (saved(User, 1), saved(User, "1"), saved(Group, 1), User, Group, 1),
        (Point(1), Point("1"), OtherPoint(1), Point, Point(Point(1))),
        (datetime.datetime(2024, 1, 1), datetime.date(2024, 1, 1), datetime.datetime(2024, 1, 1, fold=1)),
        (("a", "b"), ("a,b",), ("a','b",), (("a",), "b"), ["a", "b"], "a,b"),
        ({1: 2}, {1: [2]}, {(1, 2)}, {1, 2}, [(1, 2)], {"1": 2}),
        (datetime.timezone.utc, datetime.timezone(datetime.timedelta(0), "Z"), zoneinfo.ZoneInfo("UTC")),
    ],
)
def test_different_values_have_different_keys(values):
    assert len({function.key(value) for value in values}) == len(values)


def test_arguments_are_separate():
    keys = [two.key("a", "b"), two.key("a','b", ""), two.key(("a", "b"), ()), two.key("a", ("b",))]
    keys += [two.key("", "a','b"), two.key("a", "'b'")]
    assert len(set(keys)) == len(keys)


def test_args_and_kwargs_are_separate():
    calls = [
        ((1,), {}),
        ((1, 2), {}),
        ((1,), {"b": 2}),
        ((1, "b", 2), {}),
        ((1, {"b": 2}), {}),
        ((1, (2,)), {}),
    ]
    assert len({function.key(*args, **kwargs) for args, kwargs in calls}) == len(calls)


# Values that are likely to be confused with each other.
LEAVES = st.one_of(
    st.sampled_from(
        [None, True, False, 0, 1, -1, 0.0, -0.0, 1.0, float("nan"), float("inf"), "", "1", b"", b"1"]
    ),
    st.sampled_from(
        ["'", ",", "(1)", "1,1", "1=1", "None", "','", "\\", "\\'", "'1'", "set(", "{}", "\ud800"]
    ),
    st.integers(),
    st.floats(),
    st.text(max_size=3),
    st.binary(max_size=2),
    st.decimals(),
    st.sampled_from(
        [decimal.Decimal("-0"), decimal.Decimal("sNaN1"), decimal.Decimal("1E+1"), decimal.Decimal(10)]
    ),
    st.uuids(),
    st.dates(),
    st.times(timezones=st.none() | st.just(UTC)),
    st.datetimes(timezones=st.none() | st.timezones(no_cache=False)),
    st.timedeltas(),
    st.sampled_from([*Colour, Shade.RED, Number.ONE, Access.READ, Access(3), Access(0)]),
)
# A set has no NaN twice, and `shape` compares by value.
HASHABLE = st.recursive(
    LEAVES.filter(lambda value: not isinstance(value, decimal.Decimal) or not value.is_snan()),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=5,
)
VALUES = st.recursive(
    LEAVES | HASHABLE,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(HASHABLE, inner, max_size=3),
        st.sets(HASHABLE, max_size=3),
    ),
    max_leaves=8,
)


def shape(value):
    """Return a hashable object that is equal for values of the same types and values, and only for these."""
    return type(value), SHAPES.get(type(value), lambda value: value)(value)


def shapes(values):
    return tuple(map(shape, values))


def unordered(values):
    return tuple(sorted(shapes(values), key=repr))


def moment(value):
    zone = value.tzinfo
    return (
        value.replace(tzinfo=None, fold=0),
        value.fold,
        type(zone),
        getattr(zone, "key", None) or repr(zone),
    )


SHAPES = {
    float: lambda value: "nan" if math.isnan(value) else struct.pack("d", value),
    decimal.Decimal: lambda value: value.as_tuple(),
    list: shapes,
    tuple: shapes,
    set: unordered,
    frozenset: unordered,
    dict: lambda value: unordered(value.items()),
    datetime.datetime: moment,
    datetime.time: moment,
}


CONFUSABLE = [
    *(None, True, False, 0, 1, 11, -1, 0.0, -0.0, 1.0, float("nan"), float("inf")),
    *(b"", b"1", b"'", "", "1", "'", "a", "None", "'1'", '"', "\\", "\\'", ",", "=", "\u00e9", "\\xe9"),
    *(
        decimal.Decimal(1),
        decimal.Decimal("1.0"),
        decimal.Decimal("-0"),
        decimal.Decimal(0),
        uuid.UUID(int=1),
    ),
    *(datetime.date(2024, 1, 1), datetime.datetime(2024, 1, 1), datetime.datetime(2024, 1, 1, fold=1)),
    *(datetime.datetime(2024, 1, 1, tzinfo=UTC), datetime.datetime(2024, 1, 1, fold=1, tzinfo=UTC)),
    *(datetime.datetime(2024, 1, 1, tzinfo=zoneinfo.ZoneInfo("UTC")), datetime.time(), datetime.time(fold=1)),
    *(datetime.time(tzinfo=UTC), datetime.timedelta(0), datetime.timedelta(1), datetime.timedelta(0, 1)),
    *(*Colour, *Shade, *Number, Access(0), Access(1), Access(3)),
]


def small_values():
    """Yield every value that is small and made of parts that look alike."""
    texts = ["".join(text) for length in range(4) for text in itertools.product("',\\(=1", repeat=length)]
    yield from [*texts, *map(str.encode, texts), *CONFUSABLE]
    yield from itertools.product(texts[:43], repeat=2)
    parts = [*CONFUSABLE, (), [], {}, (1,), [1], {1: 1}, (1, 1), [1, 1], {"1": 1}]
    for size in range(3):
        for combined in itertools.product(parts, repeat=size):
            yield combined
            yield list(combined)
            yield (list(combined), size)
            if size == 2 and not isinstance(combined[0], (list, dict)):
                yield {combined[0]: combined[1]}
            if size == 2:
                yield [combined[:1], combined[1:]]
    for combined in itertools.combinations([*CONFUSABLE, (), (1,), frozenset({1}), frozenset()], 2):
        yield set(combined)
        yield frozenset(combined)
        yield {frozenset(combined): None}
        yield dict.fromkeys(combined, 1)


def test_small_values_have_different_keys():
    shapes_by_key, keys_by_shape = {}, {}
    for value in small_values():
        key, found = function.key(value), shape(value)
        assert shapes_by_key.setdefault(key, found) == found, value
        assert keys_by_shape.setdefault(found, key) == key, value
    assert len(keys_by_shape) > 20_000


@given(st.lists(VALUES, min_size=2, max_size=30))
@example([1, True, 1.0, "1", b"1", decimal.Decimal(1)])
def test_keys_are_equal_if_and_only_if_types_and_values_are(values):
    found = [shape(value) for value in values]
    keys = [function.key(value) for value in values]
    for one, key in enumerate(keys):
        for other in range(one):
            assert (key == keys[other]) == (found[one] == found[other]), (values[one], values[other])


@given(VALUES)
def test_equal_values_have_equal_keys(value):
    assert function.key(pickle.loads(pickle.dumps(value))) == function.key(value)


@given(VALUES)
def test_keys_are_printable(value):
    key = function.key(value)
    assert key.isascii()
    assert key.isprintable()
    assert " " not in key
    assert len(key) <= 200


@given(st.lists(VALUES, max_size=4), st.lists(VALUES, max_size=4))
def test_arguments_are_told_apart(first, second):
    is_same = [shape(value) for value in first] == [shape(value) for value in second]
    assert (function.key(0, *first) == function.key(0, *second)) == is_same


def test_order_of_dicts_and_sets_does_not_matter():
    words = [f"word{number}" for number in range(50)]
    assert function.key(dict.fromkeys(words)) == function.key(dict.fromkeys(reversed(words)))
    assert function.key(set(words)) == function.key(set(words))


def test_keys_are_the_same_in_every_process():
    program = (
        "import sys, json; sys.path.insert(0, sys.argv[1]); import conftest\n"
        "from nearcache.django.cached_functions.argument_encoding import encode\n"
        "print(json.dumps(encode([{'a', 'b', 'c'}, {'x': 1, 'y': 2}, frozenset({1.5, 2.5})])))"
    )
    outputs = set()
    for seed in ("1", "2", "3"):
        command = [sys.executable, "-c", program, f"{__file__.rpartition('/django_app/')[0]}"]
        outputs.add(subprocess.check_output(command, env={"PYTHONHASHSEED": seed}, text=True))
    (output,) = outputs
    assert json.loads(output) == "[set('a','b','c'),{'x'=1,'y'=2},frozenset(1.5,2.5)]"


@pytest.mark.parametrize("precision", [3, 50])
def test_decimal_context_does_not_matter(precision):
    expected = function.key(decimal.Decimal("1.23456E+70"))
    with decimal.localcontext() as context:
        context.prec, context.capitals = precision, 0
        assert function.key(decimal.Decimal("1.23456E+70")) == expected


class TestUnencodable:
    """Values without an encoding raise a `TypeError` that says what to do."""

    @pytest.mark.parametrize(
        ("value", "fault"),
        [
            (object(), "an object of the class builtins.object, which has no encoding"),
            (Plain(), f"an object of the class {HERE}.Plain, which has no encoding"),
            (Pair(1, 2), f"{HERE}.Pair, which has no encoding"),
            (OrderedDict(a=1), "collections.OrderedDict, which has no encoding"),
            (mark_safe("a"), "SafeString, which has no encoding"),
            (gettext_lazy("a"), "__proxy__, which has no encoding"),
            (bytearray(b"1"), "builtins.bytearray"),
            (User(pk=5), "an unsaved or deleted auth.User, without a primary key in the database"),
            (saved(User, None), "an unsaved or deleted auth.User"),
            (type("Guest", (AnonymousUser,), {})(), "Guest, which has no encoding"),
            (User.objects, "UserManager"),
            (lambda: 1, "builtins.function"),
            ([1, {"a": (Plain(),)}], f"it is or contains an object of the class {HERE}.Plain"),
            (Point(Plain()), f"an object of the class {HERE}.Plain"),
        ],
    )
    def test_fault(self, value, fault):
        with pytest.raises(TypeError, match=fault):
            function.key(value)

    def test_class_in_a_function(self):
        class Local:
            def __cache_key__(self):
                return 1

        for value in (Local, Local()):
            with pytest.raises(
                TypeError, match=r"Local or an object of it, but the module has no class of this"
            ):
                function.key(value)

    def test_collection_that_contains_itself(self):
        value = []
        value.append(value)
        with pytest.raises(RecursionError):
            function.key(value)

    def test_zones(self):
        class Zone(datetime.tzinfo):
            pass

        with pytest.raises(TypeError, match="Zone, which has no encoding"):
            function.key(datetime.datetime(2024, 1, 1, tzinfo=Zone()))

    @pytest.mark.parametrize(
        ("args", "kwargs", "name"),
        [((object(),), {}, "a"), ((1, 2, object()), {}, "args"), ((1,), {"b": object()}, "kwargs")],
    )
    def test_names_the_argument_and_the_function(self, args, kwargs, name):
        message = (
            f"@cached: cannot make a key of the argument '{name}' of {HERE}.function: it is or contains an "
            "object of the class builtins.object, which has no encoding. Define __cache_key__ on the class, "
            "a method that returns what identifies an object; or give @cached a key that names an attribute, "
            f'such as key="...{{{name}.pk}}...", or leaves the argument out'
        )
        for call in (function, function.key, function.invalidate, function.refresh):
            with pytest.raises(TypeError) as raised:
                call(*args, **kwargs)
            assert str(raised.value) == message
            assert raised.value.__suppress_context__

    def test_error_of_the_method_is_passed_on(self):
        class Broken:
            def __cache_key__(self):
                return 1 / 0

        globals()["Broken"] = Broken
        Broken.__qualname__ = "Broken"
        with pytest.raises(ZeroDivisionError):
            function.key(Broken())
