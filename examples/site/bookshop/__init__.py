"""The Django project of the example site: settings, URLs and the WSGI application."""
