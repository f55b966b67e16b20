"""TieredCaches for tests that are written for any backend: a `LOCATION` may be a plain name."""

from nearcache.django import TieredCache

# Each database has connections and a listener of its own, which live as long as the process.
DATABASES = 16

_server = None
_databases = {}


def use_server(server):
    """Let the caches that are made from now on use a server. Forgets which database a name has."""
    global _server  # noqa: PLW0603
    _server = server
    _databases.clear()


def database(name):
    """Return the number of the database that a name has: names take turns."""
    return _databases.setdefault(name, len(_databases) % DATABASES)


class NearNone(TieredCache):
    """A cache on the server alone. `clear` empties its database, as it empties a SharedCache's file."""

    OPTIONS = {"NEAR": None, "CLEAR": "flushdb"}  # noqa: RUF012

    def __init__(self, name, params):
        options = {**self.OPTIONS, **params.get("OPTIONS", {})}
        self.database = database(name)
        url = f"redis://127.0.0.1:{_server.port}/{self.database}"
        super().__init__(url, {**params, "OPTIONS": options})


class NearLocal(NearNone):
    """The same with copies in this process."""

    OPTIONS = {"CLEAR": "flushdb"}  # noqa: RUF012


def count_entries(cache):
    """Return how many entries a cache has, with all prefixes: of a TieredCache those of its database."""
    if not isinstance(cache, NearNone):
        return cache.stats().entries
    with _server.client() as client:
        client.command("SELECT", cache.database)
        return client.command("DBSIZE")
