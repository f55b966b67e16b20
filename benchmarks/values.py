"""What sites cache: texts, rows, objects, model instances, responses, sessions.

Each function returns the value of one key, which differs from the others'. Those of Django's classes need
Django's settings, so they import what they need only then.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any


@dataclass
class Visitor:
    """An instance of an ordinary class at the top of a module."""

    id: int
    name: str
    language: str
    cart: list[int]
    staff: bool


@dataclass
class Line:
    """A line of an order."""

    sku: str
    quantity: int
    price: float
    title: str
    note: str


def visitor(number: int) -> Visitor:
    """Return an object that pickle has to take apart."""
    return Visitor(number, f"Visitor {number}", "en-gb", [number, number + 1, number + 2], staff=False)


def order(number: int) -> list[Line]:
    """Return a list of 100 dataclasses of five fields."""
    return [
        Line(f"sku-{row}", 1 + row % 5, row / 100, f"Product {row}", f"a note of {row}")
        for row in range(number * 100, number * 100 + 100)
    ]


def count(number: int) -> int:
    """Return an integer beyond CPython's small ones."""
    return 10_000 + number


def text(number: int) -> str:
    """Return 1 KB of text."""
    return markup(number, 1024)


def fragment(number: int) -> str:
    """Return 2.7 KB of text, as a rendered template fragment of a large site."""
    return markup(number, 2700)


def markup(number: int, length: int) -> str:
    """Return a text of this length."""
    item = f"<li><a href='/articles/{number}/'>Article {number}</a></li>"
    return (item * (length // len(item) + 1))[:length]


def profile(number: int) -> dict[str, object]:
    """Return a small dict of five fields."""
    return {
        "id": number,
        "name": f"User {number}",
        "email": f"user{number}@example.com",
        "balance": number / 7,
        "active": True,
    }


def session(number: int) -> dict[str, object]:
    """Return what Django's session of a user with a basket contains."""
    return {
        "_auth_user_id": str(number),
        "_auth_user_backend": "django.contrib.auth.backends.ModelBackend",
        "_auth_user_hash": f"{number:064x}",
        "basket": [number, number + 1, number + 2],
        "last_page": f"/articles/{number}/",
        "welcomed": True,
    }


def permissions(number: int) -> set[str]:
    """Return the set of 100 permissions of a user."""
    return {f"shop.change_model{row}" for row in range(number, number + 100)}


def rows(number: int) -> list[dict[str, object]]:
    """Return a list of 100 dicts of six plain fields."""
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


def columns(number: int) -> dict[str, object]:
    """Return a row of the model `Article`, as a database returns it."""
    return {
        "id": number,
        "title": f"Article {number}",
        "slug": f"article-{number}",
        "words": number % 5000,
        "published": datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(minutes=number),
        "featured": number % 10 == 0,
    }


def values_rows(number: int) -> list[dict[str, object]]:
    """Return what `list(Article.objects.values()[:20])` gives."""
    return [columns(row) for row in range(number * 20, number * 20 + 20)]


def article(number: int) -> Any:
    """Return an instance of a Django model, as a queryset makes it."""
    from .models import Article  # noqa: PLC0415 - raw rivals run without Django

    row = columns(number)
    return Article.from_db("default", list(row), list(row.values()))


def articles(number: int) -> list[Any]:
    """Return a list of 20 instances."""
    return [article(row) for row in range(number * 20, number * 20 + 20)]


def queryset(number: int) -> Any:
    """Return a queryset of 20 instances, as if it had been evaluated. There is no database."""
    from .models import Article  # noqa: PLC0415 - raw rivals run without Django

    found = Article.objects.filter(featured=True).order_by("-words")[:20]
    found._result_cache = articles(number)
    return found


def response(number: int) -> Any:
    """Return a response of 20 KB with the headers that `cache_page` adds."""
    from django.http import HttpResponse  # noqa: PLC0415 - raw rivals run without Django

    found = HttpResponse(markup(number, 20_000))
    found["Expires"] = "Thu, 26 Nov 2026 12:00:00 GMT"
    found["Cache-Control"] = "max-age=300"
    return found


def response_with_cookie(number: int) -> Any:
    """Return such a response that sets a cookie."""
    found = response(number)
    found.set_cookie("visitor", f"{number:032x}", max_age=3600, httponly=True, samesite="Lax")
    return found
