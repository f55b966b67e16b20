"""The configuration of the app."""

from django.apps import AppConfig


class ShopConfig(AppConfig):
    """Configures the app `shop`."""

    name = "shop"
