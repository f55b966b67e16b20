"""Classes with the functions of pickle's protocol, which record their calls."""

import copyreg
import enum

CALLS = []


def record(*call):
    CALLS.append(call)


def recorded_calls(function):
    """Call a function; return its result, or its exception, and the calls recorded meanwhile."""
    CALLS.clear()
    try:
        result = function()
    except Exception as error:
        result = error
    return result, list(CALLS)


class Attributes:
    def __init__(self, **attributes):
        self.__dict__.update(attributes)

    def __repr__(self):
        return type(self).__name__


class ReduceEx(Attributes):
    def __reduce_ex__(self, protocol):
        record("reduce_ex", protocol)
        return copyreg.__newobj__, (type(self),), dict(self.__dict__)


class Reduce(Attributes):
    def __reduce__(self):
        record("reduce")
        return make, (type(self),), dict(self.__dict__)


class GetState(Attributes):
    def __getstate__(self):
        record("getstate")
        return dict(self.__dict__)


class SetState(Attributes):
    def __setstate__(self, state):
        record("setstate", sorted(state))
        self.__dict__.update(state)


class BothStates(GetState, SetState):
    pass


class FalseState(Attributes):
    def __getstate__(self):
        record("getstate")
        return 0

    def __setstate__(self, state):
        record("setstate", state)


class New(Attributes):
    def __new__(cls, *args, **attributes):
        record("new", args)
        return super().__new__(cls)

    def __init__(self, *args, **attributes):
        super().__init__(**attributes)
        record("init", args)


class NewArguments(New):
    def __getnewargs__(self):
        record("getnewargs")
        return 1, "two"


class NewKeywords(Attributes):
    def __new__(cls, *args, **keywords):
        record("new", args, keywords)
        return super().__new__(cls)

    def __getnewargs_ex__(self):
        record("getnewargs_ex")
        return (1,), {"two": 2}


class GetAttr(Attributes):
    def __getattr__(self, name):
        record("getattr", name)
        raise AttributeError(name)


class SetAttr(Attributes):
    def __setattr__(self, name, value):
        record("setattr", name)
        super().__setattr__(name, value)


class DictProperty(Attributes):
    """Its `__dict__` is not the dict of its attributes."""

    __slots__ = ("hidden",)

    def __init__(self, **attributes):
        object.__setattr__(self, "hidden", dict(attributes))

    @property
    def __dict__(self):
        record("dict")
        try:
            return self.hidden
        except AttributeError:
            object.__setattr__(self, "hidden", {})
            return self.hidden


class Slots:
    __slots__ = ("one", "two")

    def __init__(self, one=1, two=None):
        self.one = one
        self.two = two

    def __repr__(self):
        return f"{type(self).__name__} of {self.one!r} and {self.two!r}"


class SlotsAndDict(Slots):
    __slots__ = ("__dict__", "three")


class Items(dict):
    def __setitem__(self, key, value):
        record("setitem", key)
        super().__setitem__(key, value)


class Appended(list):
    def append(self, item):
        record("append")
        super().append(item)

    def extend(self, items):
        record("extend", len(items))
        super().extend(items)


class OnlyAppend(Attributes):
    """Gets items, but has no `extend`."""

    def __init__(self, items=(), **attributes):
        super().__init__(**attributes)
        self.added = list(items)

    def append(self, item):
        record("append")
        self.__dict__.setdefault("added", []).append(item)

    def __reduce__(self):
        record("reduce")
        return type(self), (), None, iter(self.added)


class Hashed(Attributes):
    def __hash__(self):
        record("hash")
        return hash(self.__dict__.get("name"))

    def __eq__(self, other):
        record("eq")
        return self.__dict__ == other.__dict__


class WithSetter(Attributes):
    def __reduce__(self):
        record("reduce")
        return make, (type(self),), {"state": [1]}, None, None, set_state


class ByName(Attributes):
    """Exists once, under a name."""

    def __reduce__(self):
        record("reduce")
        return "ONLY_ONE"


ONLY_ONE = ByName()


class Registered(Attributes):
    """Pickled by a function in `copyreg.dispatch_table`."""


class Suit(enum.Enum):
    HEARTS = 1
    SPADES = [2]  # noqa: RUF012 (a value that cannot be hashed)


def make(cls, *args):
    record("make", cls.__name__)
    return cls(*args)


def set_state(instance, state):
    record("setter", state)
    instance.__dict__.update(state)


def reduce_registered(instance):
    record("registered")
    return Registered, (), dict(instance.__dict__)


copyreg.pickle(Registered, reduce_registered)


def own_answer(protocol):
    record("own", protocol)
    return Attributes, (), {"own": True}


class Raises(Attributes):
    """Raises an exception in the function that `where` names."""

    def _raise(self, here):
        if self.__dict__.get("where") == here:
            raise LookupError(here)

    def __getstate__(self):
        self._raise("getstate")
        return dict(self.__dict__)

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._raise("setstate")


class Answers(Attributes):
    """Returns `answer()` from `__reduce_ex__`."""

    def __reduce_ex__(self, protocol):
        return self.answer()
