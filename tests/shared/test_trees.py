"""Values of built-in types are stored in a SharedCache without pickle, and read from any bytes."""

import datetime as dt
import decimal
import os
import pickle
import random
import sys
import uuid
from zoneinfo import ZoneInfo

import pytest
from django.utils.safestring import mark_safe
from hypothesis import given
from hypothesis import strategies as st

from nearcache.django import SharedCache
from support.isolated import run
from support.sample_values import VALUES, Box, MyStr, describe, every, nested, spoil

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="SharedCache is for Linux")

if sys.platform == "linux":
    from nearcache._core import decode_tree, encode_tree

# Specimens that need pickle, with nearly all others being trees.
PICKLED = {
    *(
        "lone surrogate",
        "Ellipsis",
        "NotImplemented",
        "Fraction",
        "enum",
        "enum of a list",
        "IntEnum",
        "Flag",
    ),
    *("TextChoices", "namedtuple", "range", "slice", "class", "function", "builtin", "partial"),
    *("regular expression", "path", "dict with a custom key", "dict with enum keys", "set of custom objects"),
    *("dict with str subclass keys", "array", "deque", "defaultdict", "OrderedDict", "Counter"),
    *("tuple in its list", "100 lists", "100 dicts", "100 tuples of lists", "namespace", "user", "slots"),
    *("unmanaged model", "list of models", "one box twice", "box in itself", "namedtuple of lists"),
    *("datetime in a zone that can change", "time in a zone that can change", "such a datetime in a list"),
    *("such a datetime in a tuple", "dataclass", "frozen dataclass", "dataclass in a list"),
}
TREES = {name: make for name, make in VALUES.items() if name not in PICKLED and "subclass" not in name}
ROWS = [{"id": number, "name": f"name {number}", "tags": ["a", None, 1.5]} for number in range(20)]
EVERYTHING = {
    "rows": ROWS,
    "moments": [
        dt.datetime(2024, 5, 6, 7, 8, 9, 10, dt.timezone.utc),
        dt.datetime(2024, 5, 6, tzinfo=dt.timezone(dt.timedelta(hours=-3), "name"), fold=1),
        dt.time(1, 2, 3, 4, dt.timezone(dt.timedelta(minutes=7))),
        dt.datetime(2024, 5, 6, tzinfo=ZoneInfo("Europe/Berlin")),
        dt.date(1, 1, 1),
        dt.timedelta(-5, 6, 7),
    ],
    "numbers": [0, 63, 64, -1, 127, 128, -129, 2**15, 2**31, -(2**63), 2**63, -(2**71), 1.5, 2j, True, None],
    "library": [decimal.Decimal("1.10"), uuid.UUID(int=2**127), mark_safe("<b>")],
    "texts": ["", "a" * 200, "é", "日本語", b"", b"b" * 200, bytearray(b"c")],
    "collections": ({1, "a"}, frozenset({(1, frozenset({2}))}), (), [], {}, {(1, "a"): [], None: {}}),
}


@pytest.fixture
def cache(shared_memory):
    """Return a cache in a file of its own, in which nothing is kept as an object."""
    path = shared_memory / f"trees-{os.urandom(4).hex()}"
    return SharedCache(str(path), {"OPTIONS": {"MAX_MEMORY": "8MB", "OBJECT_CACHE": 0}})


def unpickled(value):
    return pickle.loads(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))


class TestTree:
    @every(TREES)
    def test_comes_out_as_from_pickle(self, make):
        value = make()
        found = decode_tree(encode_tree(value))
        assert describe(found) == describe(unpickled(value))

    @every(TREES)
    def test_shares_nothing_that_can_change(self, make):
        value = make()
        encoded = encode_tree(value)
        spoil(decode_tree(encoded))
        assert describe(value) == describe(make())
        assert describe(decode_tree(encoded)) == describe(make())

    @every(VALUES)
    def test_whatever_is_no_tree_is_pickled(self, cache, make, request):
        name = request.node.callspec.id
        value = make()
        if name in TREES:
            encode_tree(value)
        else:
            with pytest.raises(TypeError):
                encode_tree(value)
        if cache.set("key", value, nx=True):
            assert describe(cache.get("key")) == describe(unpickled(value))

    def test_same_object_gives_the_same_bytes(self):
        assert encode_tree(EVERYTHING) == encode_tree(EVERYTHING)

    def test_bytes_do_not_depend_on_other_references(self):
        value = [{"a": [1]}, {"a": [2]}]
        encoded = encode_tree(value)
        others = [value[0], value[0]["a"]]
        assert decode_tree(encode_tree(value)) == decode_tree(encoded) == value
        del others

    def test_names_are_written_once(self):
        encoded = encode_tree(ROWS)
        assert encoded.count(b"tags") == encoded.count(b"name") - len(ROWS) == 1

    def test_names_of_other_dicts_are_written_once(self):
        encoded = encode_tree(
            [{"first": 1, "second": 2}, {"second": 2, "third": 3}, {"third": 1, "first": 2}]
        )
        assert [encoded.count(name) for name in (b"first", b"second", b"third")] == [1, 1, 1]

    def test_dicts_whose_keys_differ_in_the_last_one(self):
        value = [dict.fromkeys([*"abc", last], 1) for last in "xyzxyz"]
        assert decode_tree(encode_tree(value)) == value

    def test_order_of_keys_is_kept(self):
        value = [{"b": 1, "a": 2}, {"a": 1, "b": 2}, {"b": 1, "a": 2}]
        assert [list(row) for row in decode_tree(encode_tree(value))] == [["b", "a"], ["a", "b"], ["b", "a"]]

    def test_long_text_is_written_once(self):
        text, data = "x" * 1000, b"y" * 1000
        value = [text] * 100 + [data] * 100
        encoded = encode_tree(value)
        assert len(encoded) < 3000
        assert decode_tree(encoded) == value

    def test_large_dict_has_no_shape(self):
        value = [{str(number): number for number in range(2000)} for _ in range(2)]
        assert decode_tree(encode_tree(value)) == value

    def test_tuple_in_many_keys(self):
        inner = ("shared", frozenset({1}))
        value = {(inner, number): inner for number in range(50)}
        assert decode_tree(encode_tree(value)) == value

    def test_zone_that_is_not_cached_by_its_key_is_pickled(self):
        with pytest.raises(TypeError, match="ZoneInfo"):
            encode_tree(ZoneInfo.no_cache("Europe/Berlin"))
        zone = decode_tree(encode_tree([ZoneInfo("Europe/Berlin")]))[0]
        assert zone is ZoneInfo("Europe/Berlin")

    def test_uuid_keeps_whether_it_is_safe(self):
        for safety in uuid.SafeUUID:
            value = uuid.UUID(int=5, is_safe=safety)
            found = decode_tree(encode_tree(value))
            assert (found, found.is_safe, hash(found)) == (value, safety, hash(value))

    @pytest.mark.parametrize(("levels", "is_tree"), [(63, True), (64, False), (100_000, False)])
    def test_depth_is_limited(self, levels, is_tree):
        for wrap in (lambda inner: [inner], lambda inner: {"in": inner}, lambda inner: (inner,)):
            value = [nested(levels, wrap)]
            if is_tree:
                assert decode_tree(encode_tree(value)) == value
            else:
                with pytest.raises(TypeError, match="nested more than 64 deep"):
                    encode_tree(value)
            while value:  # taken apart, because a deep object is deallocated recursively
                value = next(iter(value.values() if isinstance(value, dict) else value), None)
                value = value if isinstance(value, (dict, list, tuple)) else None


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.text(st.characters(exclude_categories=()), max_size=100),
    st.binary(max_size=100),
    st.dates(),
    st.times(timezones=st.sampled_from([None, dt.timezone.utc])),
    st.datetimes(
        timezones=st.sampled_from([None, dt.timezone(dt.timedelta(hours=5), "five"), ZoneInfo("Asia/Tokyo")])
    ),
    st.timedeltas(),
    st.uuids(),
    st.decimals(allow_nan=False),
    st.text(max_size=3).map(mark_safe),
    st.sampled_from([Box(1), MyStr("a"), len]),
)
HASHABLE = st.recursive(
    st.one_of(st.integers(-3, 3), st.text(max_size=2), st.none(), st.uuids(), st.dates()),
    lambda inner: st.one_of(st.lists(inner, max_size=3).map(tuple), st.frozensets(inner, max_size=3)),
    max_leaves=4,
)


@st.composite
def graphs(draw):
    """Return containers that refer to each other, in circles too."""
    kinds = draw(st.lists(st.sampled_from(["list", "dict", "rows", "set", "tuple"]), min_size=1, max_size=8))
    nodes = []
    for kind in kinds:
        parts = st.one_of(LEAVES, st.sampled_from(nodes) if nodes else LEAVES)
        if kind == "tuple":
            nodes.append(tuple(draw(st.lists(parts, max_size=4))))
        elif kind == "set":
            nodes.append(draw(st.sets(HASHABLE, max_size=4)))
        elif kind == "list":
            nodes.append(draw(st.lists(parts, max_size=5)))
        elif kind == "rows":
            nodes.append([{"a": draw(parts), "b": draw(parts)} for _ in range(draw(st.integers(0, 4)))])
        else:
            nodes.append(
                draw(st.dictionaries(st.one_of(st.sampled_from("abc"), HASHABLE), parts, max_size=5))
            )
    for node in nodes:
        # Some become circles.
        if isinstance(node, list) and draw(st.booleans()):
            node.append(draw(st.sampled_from(nodes)))
        if isinstance(node, dict) and draw(st.booleans()):
            node["circle"] = draw(st.sampled_from(nodes))
    return nodes[-1]


class TestGeneratedValues:
    @given(value=st.one_of(graphs(), LEAVES))
    def test_come_out_as_from_pickle(self, shared_memory, value):
        cache = SharedCache(str(shared_memory / "generated"), {"OPTIONS": {"MAX_MEMORY": "4MB"}})
        wanted = describe(unpickled(value))
        cache.set("key", value)
        # From the bytes, twice, and then from the object cache.
        for _ in range(3):
            found = cache.get("key")
            assert describe(found) == wanted
            spoil(found)

    @given(value=graphs())
    def test_give_the_same_bytes_when_they_are_stored_again(self, value):
        try:
            encoded = encode_tree(value)
        except TypeError:
            return
        # The order of a set may change when it is built again.
        assert describe(decode_tree(encode_tree(decode_tree(encoded)))) == describe(decode_tree(encoded))


def mutations(encoded, count, seed):
    """Return damaged copies of bytes: with other bytes, parts left out, repeated or moved."""
    chance = random.Random(seed)
    for _ in range(count):
        damaged = bytearray(encoded)
        for _ in range(chance.randint(1, 4)):
            at, size = chance.randrange(len(damaged) + 1), chance.randint(1, 8)
            kind = chance.randrange(5)
            if kind == 0:
                damaged[at : at + 1] = bytes([chance.randrange(256)])
            elif kind == 1:
                del damaged[at : at + size]
            elif kind == 2:
                damaged[at:at] = damaged[at : at + size]
            elif kind == 3:
                damaged[at:at] = bytes(
                    chance.choice([0x20, 0x24, 0x25, 0x26, 0x28, 0x29]) for _ in range(size)
                )
            else:
                other = chance.randrange(len(damaged) + 1)
                damaged[at:at] = damaged[other : other + 3 * size]
        yield bytes(damaged)


class TestHostileBytes:
    @pytest.mark.parametrize("value", [EVERYTHING, *EVERYTHING.values()], ids=["everything", *EVERYTHING])
    def test_damaged_bytes_are_refused_or_some_value(self, value):
        refused = 0
        for damaged in mutations(encode_tree(value), 3_000, seed=16):
            try:
                found = decode_tree(damaged)
            except Exception:
                refused += 1
            else:
                encode_tree(found)
        assert refused > 1000

    @pytest.mark.parametrize("value", EVERYTHING.values(), ids=EVERYTHING)
    def test_every_truncation_is_refused(self, value):
        encoded = encode_tree(value)
        for length in range(len(encoded)):
            with pytest.raises(ValueError, match="not a tree"):
                decode_tree(encoded[:length])

    def test_trailing_bytes_are_refused(self):
        with pytest.raises(ValueError, match="not a tree"):
            decode_tree(encode_tree([1]) + b"\0")

    def test_other_versions_are_refused(self):
        encoded = encode_tree([1])
        for version in {*range(256)} - {encoded[0]}:
            with pytest.raises(ValueError, match="not a tree"):
                decode_tree(bytes([version]) + encoded[1:])

    @pytest.mark.parametrize("tag", [0x07, 0x0A, 0x0E, 0x0F, 0x1A, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25])
    def test_huge_counts_allocate_nothing(self, tag):
        for number in (
            b"\xff\xff\xff\xff\x0f",
            b"\xff\xff\xff\xff\x7f",
            b"\xff" * 9,
            b"\x80\x80\x80\x80\x08",
        ):
            with pytest.raises(ValueError, match="not a tree"):
                decode_tree(bytes([1, tag]) + number + b"\0" * 8)

    @pytest.mark.parametrize(
        "encoded",
        {
            "number of more bytes than needed": b"\x20\x81\x00\x00",
            "int of more bytes than needed": b"\x03\x05",
            "large int that is small": b"\x07\x09" + b"\x01" * 8 + b"\x00",
            "long ASCII that is short": b"\x0a\x01a",
            "ASCII that is not": b"\x81\xe9",
            "Latin-1 that is ASCII": b"\x0b\x01a",
            "UTF-8 that is not": b"\x0c\x01\xff",
            "surrogate in UTF-8": b"\x0c\x03\xed\xa0\x80",
            "key twice": b"\x24\x02\x41\x00\x41\x00",
            "name twice": b"\x25\x02\x81a\x81a\x00\x00",
            "member twice": b"\x22\x02\x41\x41",
            "member of a frozenset twice": b"\x23\x02\x41\x41",
            "key that can change": b"\x24\x01\x20\x00\x00",
            "unknown name": b"\x25\x01\x27\x00\x00",
            "unknown shape": b"\x26\x00\x00",
            "no names": b"\x25\x00",
            "unknown mark": b"\x29\x00",
            "mark of a mark": b"\x28\x28\x20\x00",
            "tuple in itself": b"\x28\x21\x01\x29\x00",
            "mark in a key": b"\x22\x01\x28\x21\x00",
            "zone that is none": b"\x14\xe8\x07\x01\x01\x00\x00\x00\x00\x00\x00\x20\x00",
            "zone with a zone": b"\x12" + b"\0" * 6 + b"\x12" + b"\0" * 6 + b"\x16",
            "seconds of a delta": b"\x15" + b"\0" * 4 + b"\x80\x51\x01" + b"\0" * 3,
            "days of a delta": b"\x15\xff\xff\xff\x7f" + b"\0" * 6,
            "safety of a UUID": b"\x1b\x03" + b"\0" * 16,
            "safe number": b"\x0d\x41",
            "unknown tag": b"\x30",
        }.items(),
        ids=lambda item: item[0],
    )
    def test_nonsense_is_refused(self, encoded):
        with pytest.raises(ValueError, match="not a tree"):
            decode_tree(b"\x01" + encoded[1])

    @pytest.mark.parametrize(
        ("encoded", "raised"),
        [
            (b"\x10\x00\x00\x01\x01", ValueError),  # the year 0
            (b"\x11\x18" + b"\0" * 5, ValueError),  # 24 o'clock
            (b"\x17\x01" + b"\0" * 9, ValueError),  # an offset of a day
            (b"\x19\x87../../x", ValueError),  # a key that leaves the folder of zones
            (b"\x19\x85None!", KeyError),
            (b"\x1a\x03abc", decimal.InvalidOperation),
        ],
    )
    def test_python_refuses_the_rest(self, encoded, raised):
        with pytest.raises(raised):
            decode_tree(b"\x01" + encoded)

    def test_nesting_is_limited(self):
        for tag in (b"\x20\x01", b"\x21\x01", b"\x24\x01\x41", b"\x28\x20\x01", b"\x25\x01\x81a"):
            with pytest.raises(ValueError, match="not a tree"):
                decode_tree(b"\x01" + tag * 100_000 + b"\x00")
        for tag in (b"\x0d", b"\x28", b"\x14" + b"\x01" * 10):
            with pytest.raises(ValueError, match="not a tree"):
                decode_tree(b"\x01" + tag * 100_000)

    def test_key_cannot_take_for_ever_to_hash(self):
        # Each of 60 tuples contains the one before twice.
        chain = b"\x20\x3d\x28\x21\x00" + b"".join(
            b"\x28\x21\x02\x29%c\x29%c" % (at, at) for at in range(1, 61)
        )
        assert len(decode_tree(b"\x01\x28" + chain)) == 61
        with pytest.raises(ValueError, match="not a tree"):
            decode_tree(b"\x01\x20\x02\x28" + chain + b"\x22\x01\x29\x3d")


class TestOtherProcesses:
    def test_read_and_write_the_same_trees(self, shared_memory):
        path = shared_memory / f"trees-{os.urandom(4).hex()}"
        cache = SharedCache(str(path), {"OPTIONS": {"MAX_MEMORY": "8MB"}})
        names = sorted(TREES)
        for number, name in enumerate(names):
            cache.set(f"ours-{number}", TREES[name](), None)
        # The other process hashes texts with another seed.
        program = f"""
from support.sample_values import VALUES, describe
cache = opened({str(path)!r})
for number, name in enumerate({names!r}):
    value = VALUES[name]()
    if name not in ("3 MB bytes", "3 MB str"):
        assert describe(cache.get(f"ours-{{number}}")) == describe(value), name
        cache.set(f"theirs-{{number}}", value, None)
"""
        run("-c", SETUP + program)
        for number, name in enumerate(names):
            if name not in {"3 MB bytes", "3 MB str"}:
                assert describe(cache.get(f"theirs-{number}")) == describe(TREES[name]())


SETUP = """
import django
from django.conf import settings
settings.configure(SECRET_KEY="tests", USE_TZ=True, INSTALLED_APPS=[
    "django.contrib.contenttypes", "django.contrib.auth", "nearcache.django"])
django.setup()
from nearcache.django import SharedCache
def opened(path):
    return SharedCache(path, {"OPTIONS": {"MAX_MEMORY": "8MB"}})
"""
