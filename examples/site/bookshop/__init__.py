"""The project: settings, URLs and the WSGI entry point of a small bookshop."""
