"""What keeps the entries of a cache while the site is restarted: a file, or a Redis server.

The server is that of `make compare`, in `benchmarks/`.
"""

import contextlib
import os
import sys
from pathlib import Path

from harness.server import DATA_DIR, EXAMPLES, ServerError

sys.path.append(str(EXAMPLES.parent))
from benchmarks.servers import UnavailableError, find, redis_server

# As much as nearcache's caches have by default.
MEMORY = 64 * 1024**2
SHARED_MEMORY = Path("/dev/shm")
FILE = (SHARED_MEMORY if SHARED_MEMORY.is_dir() else DATA_DIR) / f"nearcache-demo-{os.getpid()}"


def why_not(cache):
    """Say why a cache cannot take part; None if it can."""
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
def empty_store(cache):
    """Make what a cache keeps its entries in, empty, for `with`; give its LOCATION, None for the default."""
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
