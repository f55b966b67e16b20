"""Objects are taken apart and rebuilt as by pickle: same results, same calls, same exceptions."""

import collections
import copyreg
import dataclasses
import functools
import pickle
import threading

import pytest
from django.contrib.auth.models import User
from hypothesis import given
from hypothesis import strategies as st

from support import pickle_hooks as hooks
from support.sample_values import Box, Color, FrozenBox, Point, describe

PROTOCOL = 5


@dataclasses.dataclass(frozen=True, slots=True)
class FrozenSlots:
    one: object
    two: object = None


def hidden_list(length):
    value = hooks.Appended()
    list.extend(value, range(length))
    return value


def same_twice(make):
    value = make()
    return [value, value]


def in_itself(make):
    value = make()
    value.itself = value
    value.inside = [value]
    return value


def attributes_beside_instance():
    box = Box([1])
    return [vars(box), box, vars(box)]


def attributes_after_instance():
    box = Box([1])
    return [box, vars(box)]


def name_not_interned():
    box = Box(1)
    vars(box)["".join("ab")] = 1
    return box


def name_not_a_text():
    box = Box(1)
    vars(box)[1] = 1
    return box


VALUES = {
    "ReduceEx": lambda: hooks.ReduceEx(a=1, b=[2]),
    "Reduce": lambda: hooks.Reduce(a=1),
    "GetState": lambda: hooks.GetState(a=1),
    "SetState": lambda: hooks.SetState(a=1),
    "both states": lambda: hooks.BothStates(a=hooks.BothStates(b=1)),
    "false state": lambda: hooks.FalseState(a=1),
    "no state": hooks.SetState,
    "New": lambda: hooks.New(a=1),
    "NewArguments": lambda: hooks.NewArguments(a=1),
    "NewKeywords": lambda: hooks.NewKeywords(a=1),
    "GetAttr": lambda: hooks.GetAttr(a=1),
    "SetAttr": lambda: hooks.SetAttr(a=1),
    "SetAttr twice": lambda: [hooks.SetAttr(a=1), hooks.SetAttr(a=2)],
    "DictProperty": lambda: hooks.DictProperty(a=1),
    "Slots": lambda: hooks.Slots(one=[1]),
    "SlotsAndDict": lambda: hooks.SlotsAndDict(one=[1]),
    "Items": lambda: hooks.Items(a=1, b=hooks.SetState(a=1)),
    "Appended": lambda: hidden_list(3),
    "Appended with one": lambda: hidden_list(1),
    "Appended in batches": lambda: hidden_list(2500),
    "Appended, a full batch": lambda: hidden_list(1000),
    "OnlyAppend": lambda: hooks.OnlyAppend([1, [2]]),
    "Hashed in a set": lambda: {hooks.Hashed(name=name) for name in "abc"},
    "Hashed in a frozenset": lambda: frozenset({hooks.Hashed(name="a")}),
    "Hashed as a key": lambda: {hooks.Hashed(name="a"): hooks.SetState(a=1)},
    "WithSetter": hooks.WithSetter,
    "by name": lambda: hooks.ONLY_ONE,
    "Registered": lambda: [hooks.Registered(a=1), hooks.Registered(a=2)],
    "enum": lambda: [hooks.Suit.HEARTS, hooks.Suit.HEARTS, hooks.Suit.SPADES, {Color.RED: 1}],
    "Fractions of a class": lambda: [hooks.GetState(a=number) for number in range(5)],
    "plain instances": lambda: [hooks.Attributes(a=number, b=[number]) for number in range(5)],
    "an instance with a function of its own": lambda: [
        hooks.Attributes(a=1),
        hooks.Attributes(a=2),
        hooks.Attributes(__reduce_ex__=hooks.own_answer),
    ],
    "frozen dataclass with slots": lambda: FrozenSlots([1], FrozenSlots(2)),
    "namedtuple of instances": lambda: Point(hooks.SetState(a=1), [hooks.SetState(b=1)]),
    "defaultdict": lambda: collections.defaultdict(list, a=hooks.SetState(a=1)),
    "exception": lambda: ValueError("a", hooks.SetState(a=1)),
    "bound method": lambda: hooks.Attributes(a=1).__init__,
    "class": lambda: [
        hooks.Attributes,
        type,
        type(None),
        type(...),
        type(NotImplemented),
        collections.abc.Mapping,
    ],
    # Its class is in Django's registry, and in no module.
    "model that Django made": lambda: [User.groups.through(pk=number) for number in range(3)],
    "the same instance twice": lambda: same_twice(lambda: hooks.SetState(a=[1])),
    "the same tuple twice": lambda: same_twice(lambda: (hooks.SetState(a=[1]),)),
    "the same frozenset twice": lambda: same_twice(lambda: frozenset({FrozenBox(1)})),
    "instance in itself": lambda: in_itself(hooks.SetState),
    "plain instance in itself": lambda: in_itself(hooks.Attributes),
    "reduced instance in itself": lambda: in_itself(hooks.Reduce),
    "attributes beside their instance": attributes_beside_instance,
    "attributes after their instance": attributes_after_instance,
    "name that is not interned": name_not_interned,
    "name that is no text": name_not_a_text,
}

every_value = pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in VALUES.items()])


def deep_list(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


class TestAgainstPickle:
    @every_value
    def test_result_and_calls_are_those_of_pickle(self, cache, make):
        value = make()
        data, calls_at_dumps = hooks.recorded_calls(lambda: pickle.dumps(value, PROTOCOL))
        expected, calls_at_loads = hooks.recorded_calls(lambda: pickle.loads(data))
        _, calls_at_set = hooks.recorded_calls(lambda: cache.set("key", value))
        got, calls_at_get = hooks.recorded_calls(lambda: cache.get("key"))
        assert (calls_at_set, calls_at_get) == (calls_at_dumps, calls_at_loads)
        if isinstance(expected, Exception):
            assert (type(got), str(got)) == (type(expected), str(expected))
        else:
            assert describe(got) == describe(expected)

    @every_value
    def test_every_read_is_like_the_first(self, cache, make):
        cache.set("key", make())
        first, calls = hooks.recorded_calls(lambda: cache.get("key"))
        second, calls_again = hooks.recorded_calls(lambda: cache.get("key"))
        assert calls_again == calls
        if not isinstance(first, Exception):
            assert describe(second) == describe(first)

    def test_instances_of_a_class_changed_between_two_values_are_asked_again(self, cache, monkeypatch):
        instances = [hooks.Attributes(a=number) for number in range(3)]
        cache.set("before", instances)
        monkeypatch.setattr(hooks.Attributes, "__getstate__", lambda self: {"changed": True}, raising=False)
        cache.set("after", instances)
        assert [vars(each) for each in cache.get("before")] == [{"a": 0}, {"a": 1}, {"a": 2}]
        assert [vars(each) for each in cache.get("after")] == [{"changed": True}] * 3


def looped(edges, kinds):
    """Make a graph of objects in which each refers to others, or to itself."""
    made = [kind() for kind in kinds]
    for source, target in edges:
        holder, held = made[source % len(made)], made[target % len(made)]
        if isinstance(holder, list):
            holder.append(held)
        elif isinstance(holder, dict):
            holder[len(holder)] = held
        else:
            holder.__dict__[f"a{len(holder.__dict__)}"] = (held,)
    return made


KINDS = st.sampled_from(
    [list, dict, hooks.Attributes, hooks.SetState, hooks.Reduce, hooks.New, collections.OrderedDict]
)


class TestAnyGraph:
    @given(
        st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=25),
        st.lists(KINDS, min_size=1, max_size=10),
    )
    def test_is_rebuilt_as_by_pickle(self, cache, edges, kinds):
        value = looped(edges, kinds)
        data, calls_at_dumps = hooks.recorded_calls(lambda: pickle.dumps(value, PROTOCOL))
        expected, calls_at_loads = hooks.recorded_calls(lambda: pickle.loads(data))
        _, calls_at_set = hooks.recorded_calls(lambda: cache.set("key", value))
        got, calls_at_get = hooks.recorded_calls(lambda: cache.get("key"))
        assert describe(got) == describe(expected)
        assert (calls_at_set, calls_at_get) == (calls_at_dumps, calls_at_loads)


def local_class():
    class Local:
        pass

    return Local


UNPICKLABLE = {
    "lambda": lambda: hooks.own_answer.__class__(hooks.own_answer.__code__, {}, "<lambda>"),
    "local class": local_class,
    "instance of a local class": local_class(),
    "generator": lambda: (item for item in ()),
    "lock": threading.Lock,
    "module": lambda: threading,
    "memoryview": lambda: memoryview(b"a"),
    "instance with a lambda": lambda: Box(lambda: None),
    "iterator of a generator function": lambda: hooks.Attributes(a=iter(item for item in ())),
    "raises in getstate": lambda: hooks.Raises(where="getstate"),
    "answer is no tuple": lambda: hooks.Answers(answer=dict),
    "answer is too short": lambda: hooks.Answers(answer=lambda: (Box,)),
    "answer is too long": lambda: hooks.Answers(answer=lambda: (Box, (1,), None, None, None, None, None)),
    "answer is not callable": lambda: hooks.Answers(answer=lambda: (1, ())),
    "arguments are no tuple": lambda: hooks.Answers(answer=lambda: (Box, [1])),
    "list items are no iterator": lambda: hooks.Answers(answer=lambda: (Box, (1,), None, [1])),
    "dict items are no iterator": lambda: hooks.Answers(answer=lambda: (Box, (1,), None, None, [1])),
    "dict items are no pairs": lambda: hooks.Answers(answer=lambda: (Box, (1,), None, None, iter([1]))),
    "setter is not callable": lambda: hooks.Answers(answer=lambda: (Box, (1,), 1, None, None, 1)),
    "another class": lambda: hooks.Answers(answer=lambda: (copyreg.__newobj__, (Box,))),
    "no class": lambda: hooks.Answers(answer=lambda: (copyreg.__newobj__, ())),
    "a name that does not exist": lambda: hooks.Answers(answer=lambda: "no_such_name"),
    "list of 100,000 levels": lambda: deep_list(100_000),
}


class TestFailures:
    @pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in UNPICKLABLE.items()])
    def test_what_cannot_be_pickled_raises_what_pickle_raises(self, cache, make):
        value = make()
        with pytest.raises(Exception) as expected:  # noqa: PT011 (compared below)
            pickle.dumps(value, PROTOCOL)
        cache.set("key", "old")
        with pytest.raises(type(expected.value)) as raised:
            cache.set("key", [value] if isinstance(value, int) else value)
        assert str(raised.value) == str(expected.value)
        assert cache.get("key") == "old"

    def test_exception_of_setstate_reaches_the_reader_at_every_read(self, cache):
        cache.set("key", hooks.Raises(where="setstate"))
        for _ in range(2):
            with pytest.raises(LookupError, match="setstate"):
                cache.get("key")
        cache.set("key", 1)
        assert cache.get("key") == 1

    @pytest.mark.parametrize("state", [1, "text", [1]])
    def test_state_that_is_no_dict_raises_what_unpickling_raises(self, cache, state):
        value = hooks.Answers(answer=functools.partial(tuple, (hooks.Attributes, (), state)))
        with pytest.raises(Exception) as expected:  # noqa: PT011 (compared below)
            pickle.loads(pickle.dumps(value, PROTOCOL))
        cache.set("key", value)
        with pytest.raises(type(expected.value)) as raised:
            cache.get("key")
        assert str(raised.value) == str(expected.value)

    def test_deep_value_that_pickle_accepts_is_kept(self, cache):
        value = deep_list(300)
        cache.set("key", value)
        assert cache.get("key") == value


class TestFunctionsThatUseTheCache:
    @pytest.mark.parametrize("where", ["get", "set", "clear", "delete"])
    @pytest.mark.parametrize("when", ["getstate", "setstate"])
    def test_do_not_deadlock(self, cache, monkeypatch, when, where):
        actions = {
            "get": lambda: cache.get("key"),
            "set": lambda: cache.set("key", "other"),
            "clear": cache.clear,
            "delete": lambda: cache.delete("key"),
        }
        is_busy = []

        def act():
            if not is_busy:
                is_busy.append(True)
                actions[where]()
                is_busy.clear()

        def getstate(self):
            if when == "getstate":
                act()
            return {"a": 1}

        def setstate(self, state):
            self.__dict__.update(state)
            if when == "setstate":
                act()

        monkeypatch.setattr(hooks.Attributes, "__getstate__", getstate, raising=False)
        monkeypatch.setattr(hooks.Attributes, "__setstate__", setstate, raising=False)
        cache.set("key", hooks.Attributes())
        assert vars(cache.get("key")) == {"a": 1}


class TestNumpy:
    def test_arrays_are_returned_as_stored(self, cache):
        numpy = pytest.importorskip("numpy")
        arrays = [
            numpy.arange(12, dtype="f4").reshape(3, 4),
            numpy.asfortranarray(numpy.ones((2, 3))),
            numpy.arange(20)[::2],
            numpy.array(["a", None, [1]], dtype=object),
            numpy.zeros(0),
            numpy.float64(1.5),
        ]
        cache.set("key", arrays)
        arrays[0][0, 0] = 7
        first = cache.get("key")
        assert first[0][0, 0] == 0
        first[0][0, 0] = 8
        for given_, got in zip(arrays[1:], cache.get("key")[1:], strict=True):
            assert type(got) is type(given_)
            assert got.dtype == given_.dtype
            assert numpy.array_equal(got, given_)
        assert cache.get("key")[0].flags.writeable
        assert cache.get("key")[0][0, 0] == 0

    def test_read_only_array_stays_read_only(self, cache):
        numpy = pytest.importorskip("numpy")
        array = numpy.arange(3)
        array.flags.writeable = False
        cache.set("key", array)
        assert not cache.get("key").flags.writeable


class TestPickleBuffer:
    def test_memory_becomes_bytes_or_a_bytearray(self, cache):
        cache.set("key", [pickle.PickleBuffer(b"abc"), pickle.PickleBuffer(bytearray(b"abc"))])
        assert [(type(each), bytes(each)) for each in cache.get("key")] == [
            (bytes, b"abc"),
            (bytearray, b"abc"),
        ]

    def test_memory_with_gaps_raises_what_pickle_raises(self, cache):
        buffer = pickle.PickleBuffer(memoryview(b"abcd")[::2])
        with pytest.raises(pickle.PicklingError, match="contiguous"):
            cache.set("key", buffer)


class TestThreads:
    def test_one_graph_is_built_by_many_threads(self, cache):
        value = {"boxes": [Box([number]) for number in range(50)], "loop": in_itself(hooks.Attributes)}
        cache.set("key", value)
        expected = describe(value)
        failures = []

        def read():
            failures.extend(1 for _ in range(100) if describe(cache.get("key")) != expected)

        threads = [threading.Thread(target=read) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
