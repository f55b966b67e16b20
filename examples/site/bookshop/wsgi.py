"""The WSGI entry point. It serves static files too: the demo has no web server in front of it that could."""

import os

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bookshop.settings")
application = StaticFilesHandler(get_wsgi_application())
