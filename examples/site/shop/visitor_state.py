"""Data about visitors: view counters in the cache; recently viewed books and the basket in the session.

Sessions may be serialized as JSON, where the keys of objects are strings. This module converts them.
"""

from django.core.cache import cache

from shop.models import Book

RECENT_BOOKS = 6
AN_HOUR = 60 * 60
A_DAY = 24 * AN_HOUR


def count_view(pk):
    """Counts a view of a book and returns the number of views.

    The number is approximate, because the cache may evict the counter.
    """
    key = f"views:{pk}"
    try:
        return cache.incr(key)
    except ValueError:
        pass
    # The key is missing. `add` instead of `set`, because another thread may have added it meanwhile.
    if cache.add(key, 1, A_DAY):
        return 1
    try:
        return cache.incr(key)
    except ValueError:
        return 1  # added and evicted meanwhile; one view is lost


def add_recent_book(session, pk):
    """Adds a book to the recently viewed ones and returns the others, the latest first."""
    recent = session.get("recent", [])
    others = [other for other in recent if other != pk]
    if recent[:1] != [pk]:
        session["recent"] = [pk, *others][:RECENT_BOOKS]
    return others


def book_cards(pks):
    """Returns the data for links to several books, with one `get_many` and at most one query."""
    keys = {f"card:{pk}": pk for pk in pks}
    cards = cache.get_many(keys)
    missing = [pk for key, pk in keys.items() if key not in cards]
    if missing:
        books = Book.objects.filter(pk__in=missing).values("pk", "title", "author__name")
        fresh = {f"card:{book['pk']}": book for book in books}
        cache.set_many(fresh, AN_HOUR)
        cards |= fresh
    return [cards[key] for key in keys if key in cards]


def basket(session):
    """Returns the number of copies in the basket by primary key of the book."""
    return {int(pk): copies for pk, copies in session.get("basket", {}).items()}


def add_to_basket(session, pk):
    copies = basket(session)
    copies[pk] = copies.get(pk, 0) + 1
    session["basket"] = {str(pk): number for pk, number in copies.items()}
