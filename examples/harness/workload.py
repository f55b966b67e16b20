"""Generates the requests of the demo: an endless, reproducible sequence of page visits.

Each simulated visitor looks at some books and categories, sometimes puts a book into the basket, and leaves.
The popularity of pages follows Zipf's law: a few are visited very often, most of them rarely. The sequence
depends only on the seed and the sitemap, so all caches get the same requests.
"""

from itertools import accumulate, count, repeat
from random import Random
from typing import NamedTuple

SEED = 7
# The number of visitors that one client simulates at a time.
VISITORS_AT_ONCE = 25
# The probability that a visitor leaves after a page.
LEAVE_PROBABILITY = 0.07
# The relative frequency of the actions of a visitor.
ACTION_WEIGHTS = {"book": 44, "category": 26, "rating": 10, "author": 8, "home": 6, "buy": 4, "basket": 2}


class Request(NamedTuple):
    """One request of one visitor."""

    visitor: int
    method: str
    path: str


class Workload:
    """Generates requests for the pages in a sitemap."""

    def __init__(self, sitemap):
        self._books = ZipfChoice(path for path in sitemap if path.startswith("/book/"))
        self._authors = ZipfChoice(path for path in sitemap if path.startswith("/author/"))
        self._categories = ZipfChoice(path for path in sitemap if path.startswith("/category/"))

    def requests(self, client):
        """Yields the requests of one client without end: those of its visitors, interleaved at random."""
        random = Random(f"{SEED} {client}")
        numbers = count()
        visitors = [(next(numbers), self._visit(random)) for _ in range(VISITORS_AT_ONCE)]
        while True:
            index = random.randrange(VISITORS_AT_ONCE)
            visitor, visit = visitors[index]
            request = next(visit, None)
            if request is None:
                visitors[index] = next(numbers), self._visit(random)
            else:
                yield Request(visitor, *request)

    def one_page(self):
        """Yields requests for one page of a category without end. The site caches it with `cache_page`."""
        return repeat(Request(0, "GET", self._categories.most_popular))

    def _visit(self, random):
        """Yields the method and path of each request of one visitor.

        The first page is that of a book, because it sets the CSRF token.
        """
        actions, weights = list(ACTION_WEIGHTS), list(accumulate(ACTION_WEIGHTS.values()))
        book = self._books.pick(random)
        yield "GET", book
        while random.random() > LEAVE_PROBABILITY:
            match random.choices(actions, cum_weights=weights)[0]:
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


class ZipfChoice:
    """Chooses pages at random; the n-th page with a probability proportional to 1/n."""

    def __init__(self, paths):
        self._paths = list(paths)
        self._weights = list(accumulate(1 / rank for rank in range(1, len(self._paths) + 1)))

    @property
    def most_popular(self):
        return self._paths[0]

    def pick(self, random):
        return random.choices(self._paths, cum_weights=self._weights)[0]
