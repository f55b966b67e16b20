"""What the shop remembers of visitors: views of a book, books seen lately, the basket.

Sessions may be stored as JSON, whose object keys are strings; only this module needs to know.
"""

from django.core.cache import cache

from shop.models import Book

RECENT_BOOKS = 6
AN_HOUR = 60 * 60
A_DAY = 24 * AN_HOUR


def count_view(pk):
    """Count one more view of a book and return how many it has had. A rough number: the cache may drop it."""
    key = f"views:{pk}"
    try:
        return cache.incr(key)
    except ValueError:
        pass
    # There is no count yet. `add` and not `set`: another thread may have begun to count since.
    if cache.add(key, 1, A_DAY):
        return 1
    try:
        return cache.incr(key)
    except ValueError:
        return 1  # it came and went; one view lost


def remember(session, pk):
    """Put a book first among those seen lately and return the others, latest first."""
    seen = session.get("recent", [])
    others = [other for other in seen if other != pk]
    if seen[:1] != [pk]:
        session["recent"] = [pk, *others][:RECENT_BOOKS]
    return others


def book_cards(pks):
    """The little that a link to a book shows, for several books: one read of the cache, at most one query."""
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
    """The number of copies by book."""
    return {int(pk): copies for pk, copies in session.get("basket", {}).items()}


def add_to_basket(session, pk):
    copies = basket(session)
    copies[pk] = copies.get(pk, 0) + 1
    session["basket"] = {str(pk): number for pk, number in copies.items()}
