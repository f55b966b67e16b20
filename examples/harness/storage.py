"""The storage of a cache that survives a restart of the site: the file of a SharedCache, or a Redis server.

The code that starts the Redis server is in `benchmarks/`, for `make compare`.
"""

import contextlib
import os
import sys
from pathlib import Path

from harness.server import DATA_DIR, EXAMPLES, ServerError

sys.path.append(str(EXAMPLES.parent))
from benchmarks.servers import UnavailableError, find, redis_server

# The default MAX_MEMORY of nearcache.
MEMORY = 64 * 1024**2
SHARED_MEMORY = Path("/dev/shm")
FILE = (SHARED_MEMORY if SHARED_MEMORY.is_dir() else DATA_DIR) / f"nearcache-demo-{os.getpid()}"


def unavailable_reason(cache):
    """Returns why a cache cannot be used on this machine, or None if it can."""
    if cache == "shared" and sys.platform != "linux":
        return "it runs on Linux only"
    if cache != "redis":
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
    if cache == "redis":
        try:
            with redis_server(MEMORY) as port:
                yield f"redis://127.0.0.1:{port}"
        except UnavailableError as error:
            raise ServerError(str(error)) from error
    elif cache == "shared":
        try:
            yield str(FILE)
        finally:
            FILE.unlink(missing_ok=True)
    else:
        yield None
