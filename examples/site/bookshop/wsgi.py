"""The WSGI application. It serves static files, too, because the demo has no web server in front of it."""

import os

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bookshop.settings")
application = StaticFilesHandler(get_wsgi_application())
