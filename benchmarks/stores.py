"""Plain key-value stores that processes share, in the shape of caches: values pickled, no expiry."""

import contextlib
import pickle
from collections.abc import Iterator
from importlib import import_module
from multiprocessing.managers import DictProxy, SyncManager
from typing import Any


class Lmdb:
    """LMDB with nothing but what a cache needs of it."""

    def __init__(self, path: str, size: int) -> None:
        """Open the directory. That the kernel may lose what it has not written yet is no loss to a cache."""
        self.begin = import_module("lmdb").open(path, map_size=size, writemap=True, sync=False).begin

    def get(self, key: str) -> Any:
        """Return a value, or None."""
        with self.begin() as transaction:
            found = transaction.get(key.encode())
        return None if found is None else pickle.loads(found)

    def set(self, key: str, value: Any) -> None:
        """Store a value."""
        with self.begin(write=True) as transaction:
            transaction.put(key.encode(), pickle.dumps(value, pickle.HIGHEST_PROTOCOL))


class Manager(SyncManager):
    """A process that keeps one dict for all who connect to it."""


ENTRIES: dict[Any, Any] = {}  # the one dict, in the manager's process
# Its socket is in a directory that nobody else can look into.
SECRET = b"of no secrecy"


def entries() -> dict[Any, Any]:
    """Return the dict, in the manager's process."""
    return ENTRIES


Manager.register("entries", entries, DictProxy)


@contextlib.contextmanager
def manager() -> Iterator[str]:
    """Run a manager; yield its address."""
    with Manager(authkey=SECRET) as running:
        yield str(running.address)


def managed(address: str) -> Any:
    """Return the dict of the manager at an address, as `multiprocessing.Manager().dict()` does."""
    connected = Manager(address, SECRET)
    connected.connect()
    return connected.entries()  # type: ignore[attr-defined]
