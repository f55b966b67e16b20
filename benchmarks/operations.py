"""The operations that are timed, their keys and their values.

An operation is source text, as in `timeit`, so that nothing but the statement itself stands inside the timed
loop. It is run for each `key, value` of `items()`: several hundred keys in turn, never one hot entry. Each
operation has its own family of keys, so none of them disturbs what another one stored.
"""

from collections.abc import Callable
from dataclasses import dataclass

KEYS = 500
GROUP = 100


@dataclass
class Visitor:
    """The pickled object: an instance of an ordinary class at the top of a module."""

    id: int
    name: str
    language: str
    cart: list[int]
    staff: bool


def visitor(number: int) -> Visitor:
    """Return an object that no cache can keep without pickling it."""
    return Visitor(number, f"Visitor {number}", "en-gb", [number, number + 1, number + 2], staff=False)


def count(number: int) -> int:
    """Return an integer beyond CPython's small ones."""
    return 10_000 + number


def fragment(number: int) -> str:
    """Return 1 KB of text, such as a rendered template fragment."""
    return (f"<li><a href='/articles/{number}/'>Article {number}</a></li>" * 30)[:1024]


def article(number: int) -> object:
    """Return an instance of a Django model. Needs Django's settings."""
    from .models import Article  # noqa: PLC0415 - raw rivals run without Django

    return Article(id=number, title=f"Article {number}", slug=f"article-{number}", words=number % 5000)


def profile(number: int) -> dict[str, object]:
    """Return a small dict of five fields."""
    return {
        "id": number,
        "name": f"User {number}",
        "email": f"user{number}@example.com",
        "balance": number / 7,
        "active": True,
    }


def rows(number: int) -> list[dict[str, object]]:
    """Return what `list(queryset.values(...))` gives: a list of 100 dicts of six fields."""
    return [
        {
            "id": row,
            "name": f"Product {row}",
            "slug": f"product-{row}",
            "price": row / 100,
            "stock": row % 400,
            "featured": row % 10 == 0,
        }
        for row in range(number * 100, number * 100 + 100)
    ]


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
    value: Callable[[int], object] = count
    stored: bool = True  # whether the keys are in the cache beforehand
    grouped: bool = False  # whether an item is 100 keys rather than one
    awaits: bool = False
    django: bool = True  # whether it needs Django's API
    between: str = "pass"

    def pairs(self) -> list[tuple[str, object]]:
        """Return all keys with their values, one by one."""
        # The factor spreads the numbers as identifiers in a real table are spread.
        return [(self.key.format(10_000 + number * 37), self.value(number)) for number in range(KEYS)]

    def items(self) -> list[tuple[object, object]]:
        """Return what the timed loop goes over."""
        pairs = self.pairs()
        if not self.grouped:
            return list(pairs)
        groups = [dict(pairs[start : start + GROUP]) for start in range(0, KEYS, GROUP)]
        return [(list(group), group) for group in groups]


# The cost of `for key, value in items` alone: timed like an operation and subtracted from all others.
EMPTY_LOOP = Operation("empty loop", "pass", "True", "empty:{}", stored=False, django=False)

OPERATIONS = (
    Operation("get int", "{get}", "{hit}", "user:{}:unread", django=False),
    Operation("get 1 KB str", "{get}", "{hit}", "article:{}:html", fragment, django=False),
    Operation("get small dict", "{get}", "{hit}", "user:{}:profile", profile),
    Operation("get 100 rows", "{get}", "{hit}", "catalogue:page:{}:rows", rows),
    Operation("get object", "{get}", "{hit}", "session:{}:visitor", visitor),
    Operation("get model instance", "{get}", "{hit}", "article:{}:instance", article),
    Operation("miss", "{get}", "{miss}", "user:{}:avatar", stored=False, django=False),
    Operation("set 1 KB str", "{set}", "{hit}", "article:{}:teaser", fragment, django=False),
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

# Those that are timed by two processes at once.
AT_ONCE = tuple(
    each for each in OPERATIONS if each.name in {"get int", "get 1 KB str", "set 1 KB str", "incr"}
)

BY_NAME = {operation.name: operation for operation in (EMPTY_LOOP, *OPERATIONS)}
