"""The types of the caches, as mypy and pyright see them."""
