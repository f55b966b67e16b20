"""What the shop sells, what readers say of it and what they bought.

What costs the database something to answer stands here; the views decide which answers to cache.
"""

from django.db import models
from django.db.models import Avg, Count, Sum
from django.urls import reverse

# What to ask a set of reviews for.
RATING = {"stars": Avg("stars"), "count": Count("pk")}


class Category(models.Model):
    """A shelf."""

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
    """Who wrote the books."""

    name = models.CharField(max_length=80)
    about = models.TextField()

    class Meta:
        ordering = ("name",)

    def __str__(self):
        return self.name

    def get_absolute_url(self):
        return reverse("author", args=[self.pk])

    def figures(self):
        """How the author's books are read and sold."""
        # Two queries: reviews and orders joined at once would multiply each other.
        reviews = self.books.aggregate(books=Count("pk", distinct=True), stars=Avg("reviews__stars"))
        return reviews | self.books.aggregate(sold=Sum("lines__quantity", default=0))


class BookQuerySet(models.QuerySet):
    """Books, with what others think of them."""

    def with_stars(self):
        """Adds `stars`, the average of the reviews."""
        return self.annotate(stars=Avg("reviews__stars"))

    def bestsellers(self):
        """The books by copies sold, most first, with `sold`."""
        return self.annotate(sold=Sum("lines__quantity", default=0)).order_by("-sold", "title")

    def bought_with(self, book):
        """The other books of the orders that hold `book`, most often first."""
        together = self.filter(lines__order__lines__book=book).exclude(pk=book.pk)
        return together.annotate(times=Count("pk")).order_by("-times", "title")


class Book(models.Model):
    """A title on sale."""

    title = models.CharField(max_length=120)
    author = models.ForeignKey(Author, models.CASCADE, related_name="books")
    category = models.ForeignKey(Category, models.CASCADE, related_name="books")
    price = models.DecimalField(max_digits=6, decimal_places=2)
    published = models.DateField()
    blurb = models.TextField()
    # Part of the key of the cached page fragment: saving a book is enough to show it anew.
    updated = models.DateTimeField(auto_now=True)

    objects = BookQuerySet.as_manager()

    class Meta:
        ordering = ("title",)

    def __str__(self):
        return self.title

    def get_absolute_url(self):
        return reverse("book", args=[self.pk])

    def rating(self):
        """Average and number of the reviews."""
        return self.reviews.aggregate(**RATING)

    def latest_reviews(self):
        return self.reviews.all()[:5]

    def bought_together(self):
        return Book.objects.bought_with(self).select_related("author")[:6]


class Review(models.Model):
    """What a reader says of a book."""

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
    """What one customer bought at once."""

    customer = models.CharField(max_length=60)
    placed = models.DateField()

    class Meta:
        ordering = ("-placed", "-pk")

    def __str__(self):
        return f"{self.customer}, {self.placed}"


class OrderLine(models.Model):
    """Some copies of one book in an order."""

    order = models.ForeignKey(Order, models.CASCADE, related_name="lines")
    book = models.ForeignKey(Book, models.CASCADE, related_name="lines")
    quantity = models.PositiveSmallIntegerField()

    class Meta:
        ordering = ("pk",)

    def __str__(self):
        return f"{self.quantity} x {self.book}"
