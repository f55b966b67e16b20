"""A TieredCache in a process of its own, which a test calls, kills, stops and resumes.

with CacheProcess(url, NEAR="shared", NEAR_LOCATION=path) as other:
    other.call("set", "key", 1)
    other.stop()
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from support.redis_servers.waiting import wait_until

# What Linux keeps of the name of the listener's thread.
LISTENER = "nearcache-liste"


class CacheProcess:
    """A process with a cache. `with` kills it."""

    def __init__(self, url, *, environment=(), **options):
        """Start it. `options` are those of the cache; nothing connects before the first call."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.cache_process", url, json.dumps(options)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} | dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def call(self, method, *arguments, **named):
        """Call a method of the cache; return the result, or raise `CallError`."""
        self.send(method, *arguments, **named)
        return self.receive()

    def send(self, method, *arguments, **named):
        """Ask for a call, which the process makes when it runs."""
        self._process.stdin.write(json.dumps([method, arguments, named]) + "\n")
        self._process.stdin.flush()

    def receive(self):
        """Return the result of the oldest call that has not been received."""
        line = self._process.stdout.readline()
        if not line:
            raise EOFError(f"the process ended with {self._process.wait()}")
        kind, result = json.loads(line)
        if kind == "error":
            raise CallError(result)
        return result

    def stats(self):
        """Return the statistics of its remote tier: a dict."""
        return self.call("stats")

    @property
    def has_listener(self):
        """Whether the listener's thread runs there."""
        return LISTENER in threads_of(self.pid)

    def kill(self):
        """Kill it with SIGKILL."""
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()

    def stop(self):
        """Stop it with SIGSTOP, and wait until it stands still."""
        self._process.send_signal(signal.SIGSTOP)
        wait_until(self._is_stopped, "a stopped process")

    def _is_stopped(self):
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return all(") T" in (task / "stat").read_text() for task in tasks)

    def resume(self):
        """Continue it after `stop`."""
        self._process.send_signal(signal.SIGCONT)


class CallError(Exception):
    """A call raised; the message has the exception's class and text."""


def threads_of(pid):
    """Return the names of the threads of a process."""
    names = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            names.append((task / "comm").read_text().strip())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return names


def remote_stats(cache):
    """Return the statistics of the remote tier as a dict."""
    found = cache.stats().remote
    return {name: getattr(found, name) for name in dir(found) if not name.startswith("_")}


def main(url, options):
    """Make the calls that stdin asks for."""
    from django.conf import settings  # noqa: PLC0415 (only in the new process)

    settings.configure()
    from nearcache.django import TieredCache  # noqa: PLC0415

    cache = TieredCache(url, {"OPTIONS": json.loads(options)})
    for line in sys.stdin:
        method, arguments, named = json.loads(line)
        try:
            if method == "stats":
                answer = ["result", remote_stats(cache)]
            else:
                answer = ["result", getattr(cache, method)(*arguments, **named)]
        except Exception as error:
            answer = ["error", f"{type(error).__module__}.{type(error).__qualname__}: {error}"]
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
