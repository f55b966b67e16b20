"""A Django model, whose instances are cached."""

from django.db import models


class Article(models.Model):
    """What a site caches: a row of a few columns. There is no database."""

    title = models.CharField(max_length=200)
    slug = models.SlugField()
    words = models.IntegerField(default=0)
    published = models.DateTimeField(null=True)
    featured = models.BooleanField(default=False)

    class Meta:
        """The application that the model belongs to."""

        app_label = "benchmarks"
