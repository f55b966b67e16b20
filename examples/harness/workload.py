"""Who visits what: an endless, repeatable sequence of page visits.

Visitors come, look at some books and shelves, put a book into the basket now and then, and leave. Pages are
visited as they are on the web: a few very often, most hardly ever (Zipf's law). The sequence depends on the
seed and the sitemap alone, so every cache can be given the very same visits.
"""

from itertools import accumulate, count
from random import Random
from typing import NamedTuple

SEED = 7
# How many visitors of one client are on the site at any time, and how likely one leaves after a page.
VISITORS_AT_ONCE = 25
LEAVING = 0.07
# What visitors do next, and how often.
HABITS = {"book": 44, "category": 26, "rating": 10, "author": 8, "home": 6, "buy": 4, "basket": 2}


class Step(NamedTuple):
    """One request by one visitor."""

    visitor: int
    method: str
    path: str


class Journeys:
    """All that can be visited, and how likely each page is."""

    def __init__(self, sitemap):
        self._books = Ranking(path for path in sitemap if path.startswith("/book/"))
        self._authors = Ranking(path for path in sitemap if path.startswith("/author/"))
        self._categories = Ranking(path for path in sitemap if path.startswith("/category/"))

    def steps(self, client):
        """What the visitors of one client do. Their steps mix, but each one's stay in order."""
        random = Random(f"{SEED} {client}")
        numbers = count()
        present = [(next(numbers), self._journey(random)) for _ in range(VISITORS_AT_ONCE)]
        while True:
            place = random.randrange(VISITORS_AT_ONCE)
            visitor, journey = present[place]
            step = next(journey, None)
            if step is None:
                present[place] = next(numbers), self._journey(random)
            else:
                yield Step(visitor, *step)

    def _journey(self, random):
        """One visitor's requests. The first is for a book: that page hands out the token that forms need."""
        habits, weights = list(HABITS), list(accumulate(HABITS.values()))
        book = self._books.pick(random)
        yield "GET", book
        while random.random() > LEAVING:
            match random.choices(habits, cum_weights=weights)[0]:
                case "book":
                    book = self._books.pick(random)
                    yield "GET", book
                case "category":
                    yield "GET", self._categories.pick(random)
                case "author":
                    yield "GET", self._authors.pick(random)
                case "rating":
                    yield "GET", f"{self._books.pick(random)}rating/"
                case "home":
                    yield "GET", "/"
                case "buy":
                    yield "POST", f"{book}basket/"
                    yield "GET", "/basket/"
                case "basket":
                    yield "GET", "/basket/"


class Ranking:
    """Pages of one kind, the most visited first: the n-th is visited in proportion to 1/n."""

    def __init__(self, paths):
        self._paths = list(paths)
        self._weights = list(accumulate(1 / rank for rank in range(1, len(self._paths) + 1)))

    def pick(self, random):
        return random.choices(self._paths, cum_weights=self._weights)[0]
