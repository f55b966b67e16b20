"""`manage.py fill`: fills the database with generated books, reviews and orders.

The data is the same every time, because the random seed is fixed.
"""

from datetime import date, timedelta
from decimal import Decimal
from itertools import accumulate
from random import Random

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand
from django.db import transaction
from django.utils.text import slugify

from shop import sample_text
from shop.models import Author, Book, Category, Order, OrderLine, Review

SEED = 20240229
AUTHORS = 400
BOOKS = 2_000
REVIEWS = 20_000
ORDERS = 12_000
LINES_PER_ORDER = (1, 4)
BATCH = 1_000

OPENING_DAY = date(2015, 3, 1)
DAYS_OPEN = 3_600


class Command(BaseCommand):
    """Fills the database in one transaction. Does nothing if it already has books."""

    help = "Fills the database with generated authors, books, reviews and orders."

    def handle(self, **_):
        with transaction.atomic():
            if Book.objects.exists():
                self.stdout.write("The database already has books; nothing was changed.")
                return
            Generator(Random(SEED)).fill()
            # A user for the admin site. The password is simple because the demo listens on this machine only.
            get_user_model().objects.create_superuser("demo", password="demo")
        self.stdout.write(f"Created {BOOKS} books, {REVIEWS} reviews and {ORDERS} orders.")


class Generator:
    """Generates the data of the shop from one random number generator.

    Sets the primary keys itself, so that the URLs of the pages are always the same.
    """

    def __init__(self, random):
        self.random = random
        # The n-th book is bought and reviewed with a frequency proportional to 1/n (Zipf's law).
        self.popularity = list(accumulate(1 / rank for rank in range(1, BOOKS + 1)))

    def fill(self):
        for model, rows in (
            (Category, self.categories()),
            (Author, self.authors()),
            (Book, self.books()),
            (Review, self.reviews()),
            (Order, self.orders()),
            (OrderLine, self.order_lines()),
        ):
            model.objects.bulk_create(rows, batch_size=BATCH)

    def categories(self):
        for pk, name in enumerate(sample_text.CATEGORIES, start=1):
            yield Category(pk=pk, name=name, slug=slugify(name))

    def authors(self):
        for pk in range(1, AUTHORS + 1):
            place = self.random.choice(sample_text.PLACES)
            yield Author(pk=pk, name=self.person(), about=f"Lives in {place}, and writes before breakfast.")

    def books(self):
        for pk in range(1, BOOKS + 1):
            yield Book(
                pk=pk,
                title=self.title(),
                author_id=self.random.randint(1, AUTHORS),
                category_id=self.random.randint(1, len(sample_text.CATEGORIES)),
                price=Decimal(self.random.randint(499, 4999)) / 100,
                published=self.day(),
                blurb=f"Begins where “{self.title()}” should have ended.",
            )

    def reviews(self):
        for book in self.popular_books(REVIEWS):
            stars = self.random.choices((1, 2, 3, 4, 5), weights=(1, 2, 4, 8, 6))[0]
            text = self.random.choice(sample_text.OPINIONS[stars])
            yield Review(book_id=book, reader=self.person(), stars=stars, text=text, written=self.day())

    def orders(self):
        for pk in range(1, ORDERS + 1):
            yield Order(pk=pk, customer=self.person(), placed=self.day())

    def order_lines(self):
        for order in range(1, ORDERS + 1):
            # A book is on at most one line of an order. Sorted, because the order of a set is not
            # reproducible.
            for book in sorted(set(self.popular_books(self.random.randint(*LINES_PER_ORDER)))):
                yield OrderLine(order_id=order, book_id=book, quantity=self.random.randint(1, 3))

    def popular_books(self, count):
        return self.random.choices(range(1, BOOKS + 1), cum_weights=self.popularity, k=count)

    def person(self):
        return f"{self.random.choice(sample_text.FIRST_NAMES)} {self.random.choice(sample_text.LAST_NAMES)}"

    def title(self):
        adjective, noun = self.random.choice(sample_text.ADJECTIVES), self.random.choice(sample_text.NOUNS)
        return f"The {adjective} {noun} of {self.random.choice(sample_text.PLACES)}"

    def day(self):
        return OPENING_DAY + timedelta(days=self.random.randrange(DAYS_OPEN))
