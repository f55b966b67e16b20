"""The operations that are timed, their keys and their values.

An operation is source text, as in `timeit`, so that nothing but the statement itself stands inside the timed
loop. It is run for each `key, value` of `items()`: several hundred keys in turn, never one hot entry, or some
tens if the values are large. Each operation has its own family of keys, so none of them disturbs what another
one stored.
"""

from collections.abc import Callable
from dataclasses import dataclass

from . import values

KEYS = 500
KEYS_OF_LARGE_VALUES = 20
GROUP = 100


@dataclass(frozen=True)
class Operation:
    """One timed operation; `{get}`, `{set}`, `{hit}` and `{miss}` stand for the rival's own spelling.

    `check` is an expression that has to hold for every item before the operation is timed.
    `between` runs before every pass over the items, untimed.
    """

    name: str
    statement: str
    check: str
    key: str
    value: Callable[[int], object] = values.count
    keys: int = KEYS
    stored: bool = True  # whether the keys are in the cache beforehand
    grouped: bool = False  # whether an item is 100 keys rather than one
    awaits: bool = False
    django: bool = True  # whether it needs Django's API
    between: str = "pass"

    def pairs(self) -> list[tuple[str, object]]:
        """Return all keys with their values, one by one."""
        # The factor spreads the numbers as identifiers in a real table are spread.
        return [(self.key.format(10_000 + number * 37), self.value(number)) for number in range(self.keys)]

    def items(self) -> list[tuple[object, object]]:
        """Return what the timed loop goes over."""
        pairs = self.pairs()
        if not self.grouped:
            return list(pairs)
        groups = [dict(pairs[start : start + GROUP]) for start in range(0, self.keys, GROUP)]
        return [(list(group), group) for group in groups]


# The cost of `for key, value in items` alone: timed like an operation and subtracted from all others.
EMPTY_LOOP = Operation("empty loop", "pass", "True", "empty:{}", stored=False, django=False)

CALLS = (
    Operation("get int", "{get}", "{hit}", "user:{}:unread", django=False),
    Operation("get 1 KB str", "{get}", "{hit}", "article:{}:html", values.text, django=False),
    Operation("get small dict", "{get}", "{hit}", "user:{}:profile", values.profile),
    Operation("miss", "{get}", "{miss}", "user:{}:avatar", stored=False, django=False),
    Operation("set 1 KB str", "{set}", "{hit}", "article:{}:teaser", values.text, django=False),
    Operation(
        "add",
        "cache.add(key, value)",
        "cache.add(key, value)",  # true only if it stored, so every key was missing
        "import:row:{}:seen",
        stored=False,
        between="cache.delete_many([key for key, _ in items])",
    ),
    Operation("incr", "cache.incr(key)", "cache.incr(key) > value", "ratelimit:{}:minute"),
    Operation(
        "get_many(100)",
        "cache.get_many(key)",
        "cache.get_many(key) == value",
        "product:{}:price",
        grouped=True,
    ),
    Operation(
        "set_many(100)",
        "cache.set_many(value)",
        "not cache.set_many(value) and cache.get_many(key) == value",
        "product:{}:stock",
        grouped=True,
    ),
    Operation("aget int", "await cache.aget(key)", "{hit}", "user:{}:settings", awaits=True),
    Operation(
        "get_or_set hit",
        "cache.get_or_set(key, int)",  # `int` is the default's factory, never called on a hit
        "cache.get_or_set(key, int) == value",
        "article:{}:comments",
    ),
)


@dataclass(frozen=True)
class Cached:
    """A kind of value that sites cache, which is read and written."""

    name: str
    value: Callable[[int], object]
    check: str = "cache.get(key) == value"
    keys: int = KEYS_OF_LARGE_VALUES

    def operations(self) -> list[Operation]:
        """Return the two operations."""
        return [
            Operation(
                f"{verb} {self.name}",
                statement,
                self.check,
                f"{self.name}:{verb}:{{}}".replace(" ", "-"),
                self.value,
                self.keys,
            )
            for verb, statement in (("get", "{get}"), ("set", "{set}"))
        ]


SAME_CONTENT = "cache.get(key).serialize() == value.serialize()"  # with the headers and cookies

CACHED = (
    Cached("response of 20 KB", values.response, SAME_CONTENT),
    Cached("response with cookie", values.response_with_cookie, SAME_CONTENT),
    Cached("model instance", values.article, keys=KEYS),
    Cached("20 instances", values.articles),
    Cached("queryset of 20", values.queryset, "list(cache.get(key)) == list(value)"),
    Cached("20 values() rows", values.values_rows),
    Cached("100 rows", values.rows),
    Cached("session", values.session, keys=KEYS),
    Cached("100 permissions", values.permissions),
    Cached("100 dataclasses", values.order),
    Cached("object", values.visitor, keys=KEYS),
    Cached("2.7 KB fragment", values.fragment, keys=KEYS),
)
VALUES = tuple(operation for cached in CACHED for operation in cached.operations())

OPERATIONS = (*CALLS, *VALUES)

# Those that are timed by two processes at once.
AT_ONCE = tuple(each for each in CALLS if each.name in {"get int", "get 1 KB str", "set 1 KB str", "incr"})

BY_NAME = {operation.name: operation for operation in (EMPTY_LOOP, *OPERATIONS)}
