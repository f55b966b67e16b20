"""Installs the counters when Django starts."""

from django.apps import AppConfig
from django.core.cache import caches
from django.db.backends.signals import connection_created

from measure.counters import QUERIES, counters
from measure.counting_cache import CountingCache

# Statements that begin or end a transaction are not counted as queries.
TRANSACTION_CONTROL = ("BEGIN", "SAVEPOINT", "RELEASE", "ROLLBACK")


class MeasureConfig(AppConfig):
    """Wraps every cache and every database connection that is opened after `ready`."""

    name = "measure"

    def ready(self):
        create = caches.create_connection
        caches.create_connection = lambda alias: CountingCache(create(alias))
        connection_created.connect(count_queries_of)


def count_queries_of(connection, **_):
    # Django sends the signal on every reconnection, but keeps the wrappers.
    if count_query not in connection.execute_wrappers:
        connection.execute_wrappers.append(count_query)


def count_query(execute, sql, params, many, context):
    if not sql.startswith(TRANSACTION_CONTROL):
        counters.add(QUERIES)
    return execute(sql, params, many, context)
