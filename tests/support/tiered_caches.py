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
    """Return the URL of the database that a name has: names take turns."""
    number = _databases.setdefault(name, len(_databases) % DATABASES)
    return f"redis://127.0.0.1:{_server.port}/{number}"


class NearNone(TieredCache):
    """A cache on the server alone. `clear` empties its database, as it empties a SharedCache's file."""

    OPTIONS = {"NEAR": None, "CLEAR": "flushdb"}  # noqa: RUF012

    def __init__(self, name, params):
        options = {**self.OPTIONS, **params.get("OPTIONS", {})}
        super().__init__(database(name), {**params, "OPTIONS": options})


class NearLocal(NearNone):
    """The same with copies in this process."""

    OPTIONS = {"CLEAR": "flushdb"}  # noqa: RUF012
