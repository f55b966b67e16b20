"""Random values are returned as they were stored, and share nothing with the caller."""

import collections
import datetime as dt
import functools
from zoneinfo import ZoneInfo

from django.utils.safestring import mark_safe
from hypothesis import given
from hypothesis import strategies as st

from support.sample_values import (
    Box,
    Color,
    Level,
    MutableZone,
    MyDict,
    MyInt,
    MyList,
    MyStr,
    MyTuple,
    Point,
    Status,
    describe,
    spoil,
)


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
    def test_is_returned_as_stored_and_as_by_locmem(self, cache, locmem, value):
        before = describe(value)
        cache.set("key", value)
        locmem.set("key", value)
        assert describe(value) == before
        assert describe(cache.get("key")) == before
        assert describe(locmem.get("key")) == before

    @given(containers(NESTED))
    def test_shares_no_mutable_object(self, cache, value):
        before = describe(value)
        cache.set("key", value)
        first = cache.get("key")
        spoiled = spoil(first)
        assert describe(cache.get("key")) == before
        assert spoil(value) == spoiled
        assert describe(cache.get("key")) == before
