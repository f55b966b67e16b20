"""The models of the shop: categories, authors, books, reviews and orders.

The expensive queries are methods of the models and querysets; the views cache their results.
"""

from django.db import models
from django.db.models import Avg, Count, Sum
from django.urls import reverse

# The aggregates of a queryset of reviews.
RATING = {"stars": Avg("stars"), "count": Count("pk")}


class Category(models.Model):
    """A category of books."""

    name = models.CharField(max_length=60)
    slug = models.SlugField(unique=True)

    class Meta:
        ordering = ("name",)
        verbose_name_plural = "categories"

    def __str__(self):
        return self.name

    def get_absolute_url(self):
        return reverse("category", args=[self.slug])


class Author(models.Model):
    """An author of books."""

    name = models.CharField(max_length=80)
    about = models.TextField()

    class Meta:
        ordering = ("name",)

    def __str__(self):
        return self.name

    def get_absolute_url(self):
        return reverse("author", args=[self.pk])

    def figures(self):
        """Returns the number of books, the average stars and the copies sold, as a dict."""
        # Two queries, because a join of both reviews and order lines would count rows several times.
        reviews = self.books.aggregate(books=Count("pk", distinct=True), stars=Avg("reviews__stars"))
        return reviews | self.books.aggregate(sold=Sum("lines__quantity", default=0))


class BookQuerySet(models.QuerySet):
    """Queries for lists of books."""

    def with_stars(self):
        """Annotates the books with `stars`, the average of their reviews."""
        return self.annotate(stars=Avg("reviews__stars"))

    def bestsellers(self):
        """Orders the books by copies sold, most first, and annotates them with `sold`."""
        return self.annotate(sold=Sum("lines__quantity", default=0)).order_by("-sold", "title")

    def bought_with(self, book):
        """Returns other books from the orders that contain `book`, the most frequent first."""
        together = self.filter(lines__order__lines__book=book).exclude(pk=book.pk)
        return together.annotate(times=Count("pk")).order_by("-times", "title")


class Book(models.Model):
    """A book on sale."""

    title = models.CharField(max_length=120)
    author = models.ForeignKey(Author, models.CASCADE, related_name="books")
    category = models.ForeignKey(Category, models.CASCADE, related_name="books")
    price = models.DecimalField(max_digits=6, decimal_places=2)
    published = models.DateField()
    blurb = models.TextField()
    # Part of the key of the cached template fragment, so saving a book invalidates the fragment.
    updated = models.DateTimeField(auto_now=True)

    objects = BookQuerySet.as_manager()

    class Meta:
        ordering = ("title",)

    def __str__(self):
        return self.title

    def get_absolute_url(self):
        return reverse("book", args=[self.pk])

    def rating(self):
        """Returns the average and the number of the reviews, as a dict."""
        return self.reviews.aggregate(**RATING)

    def latest_reviews(self):
        return self.reviews.all()[:5]

    def bought_together(self):
        return Book.objects.bought_with(self).select_related("author")[:6]


class Review(models.Model):
    """A review of a book by a reader."""

    book = models.ForeignKey(Book, models.CASCADE, related_name="reviews")
    reader = models.CharField(max_length=60)
    stars = models.PositiveSmallIntegerField()
    text = models.TextField()
    written = models.DateField()

    class Meta:
        ordering = ("-written", "-pk")

    def __str__(self):
        return f"{self.stars} stars by {self.reader}"


class Order(models.Model):
    """An order of one customer."""

    customer = models.CharField(max_length=60)
    placed = models.DateField()

    class Meta:
        ordering = ("-placed", "-pk")

    def __str__(self):
        return f"{self.customer}, {self.placed}"


class OrderLine(models.Model):
    """A number of copies of one book in an order."""

    order = models.ForeignKey(Order, models.CASCADE, related_name="lines")
    book = models.ForeignKey(Book, models.CASCADE, related_name="lines")
    quantity = models.PositiveSmallIntegerField()

    class Meta:
        ordering = ("pk",)

    def __str__(self):
        return f"{self.quantity} x {self.book}"
