"""The site that gunicorn serves: one view, which gets the report from the cache of the environment.

STAMPEDE_CONTENDER   the name of the contender
STAMPEDE_PLACE       the place of its cache: a directory, a server
STAMPEDE_JOURNAL     the file in which the queries are counted
"""

import contextlib
import os
import time
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

from .contenders import CONTENDERS
from .scenario import BEGIN, END, QUERY_SECONDS, READY, VALUE, Journal

if TYPE_CHECKING:
    from django.http import HttpRequest

journal = Journal(os.environ["STAMPEDE_JOURNAL"])
contender = CONTENDERS[os.environ["STAMPEDE_CONTENDER"]]


def query() -> str:
    """Stand in for a query of the database."""
    journal.write(BEGIN)
    time.sleep(QUERY_SECONDS)
    journal.write(END)
    return VALUE


def page(_: "HttpRequest") -> HttpResponse:
    """Answer with the report."""
    return HttpResponse(read())


# Errors are logged to gunicorn's file.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "ERROR"},
}

# As long as the process lives.
opened = contextlib.ExitStack()
opened.enter_context(contender.rival.open(os.environ["STAMPEDE_PLACE"]))
# Opening a rival configures Django with the cache alone.
settings.ALLOWED_HOSTS = ["*"]
settings.SECRET_KEY = "benchmark"
settings.ROOT_URLCONF = __name__
settings.LOGGING = LOGGING
urlpatterns = [path("", page)]
read = contender.reader(query)
application = get_wsgi_application()
journal.write(READY)
