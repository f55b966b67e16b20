"""The storage of a cache that survives a restart of the site: the file of a SharedCache, or a server.

The code that starts the Redis or Valkey server is in `benchmarks/`, for `make compare`.
"""

import contextlib
import sys

from harness.server import EXAMPLES, FILE, ServerError

sys.path.append(str(EXAMPLES.parent))
from benchmarks.servers import UnavailableError, find, redis_server

# The caches of several machines.
OF_MACHINES = ("redis", "tiered", "tiered-shared")

# The default MAX_MEMORY of nearcache.
MEMORY = 64 * 1024**2


def unavailable_reason(cache):
    """Returns why a cache cannot be used on this machine, or None if it can."""
    if cache in {"shared", "tiered-shared"} and sys.platform != "linux":
        return "it runs on Linux only"
    if cache not in OF_MACHINES:
        return None
    try:
        find("redis-server", "redis-server")
    except UnavailableError as error:
        return str(error)
    return None


@contextlib.contextmanager
def temporary_storage(cache):
    """Creates empty storage for a cache and removes it at the end of the block.

    Yields the LOCATION, or None for the default.
    """
    if cache in OF_MACHINES:
        try:
            with redis_server(MEMORY) as port:
                yield f"redis://127.0.0.1:{port}"
        except UnavailableError as error:
            raise ServerError(str(error)) from error
        finally:
            # The near copies of each machine.
            for path in FILE.parent.glob(f"{FILE.name}-*"):
                path.unlink(missing_ok=True)
    elif cache == "shared":
        try:
            yield str(FILE)
        finally:
            FILE.unlink(missing_ok=True)
    else:
        yield None
