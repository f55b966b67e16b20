"""Names the application."""

from django.apps import AppConfig


class ShopConfig(AppConfig):
    """The bookshop."""

    name = "shop"
