"""Runs the example site with gunicorn, in separate processes.

The demo opens the listening socket, and the server inherits it. So no other program can take the port in
between, and an error about a port in use is reported before the server starts.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import redis

EXAMPLES = Path(__file__).resolve().parent.parent
SITE = EXAMPLES / "site"
DATA_DIR = EXAMPLES.parent / "build" / "demo"

# Where caches in files are.
SHARED_MEMORY = Path("/dev/shm")
FILE = (SHARED_MEMORY if SHARED_MEMORY.is_dir() else DATA_DIR) / f"nearcache-demo-{os.getpid()}"

HOST = "127.0.0.1"
# Linux has all addresses of 127.0.0.0/8; other systems may have only the first.
OTHER_HOST = "127.0.0.2"
WORKERS = 4  # of all machines together
SECONDS_TO_START = 30
SECONDS_TO_STOP = 5
LINES_OF_LOG_SHOWN = 15

# The file in which the server processes count; see site/measure/counters.py.
COUNTERS = DATA_DIR / "counters"


class ServerError(Exception):
    """The site could not be prepared or served. The message is shown to the user."""


def prepare():
    """Creates the database and fills it with generated data, unless that was done before."""
    DATA_DIR.mkdir(parents=True, exist_ok=True)
    COUNTERS.unlink(missing_ok=True)
    for command in ("migrate", "fill"):
        arguments = [sys.executable, "manage.py", command, "--verbosity=0"]
        done = subprocess.run(
            arguments,
            cwd=SITE,
            env=_environment("none"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ServerError(f"manage.py {command} failed:\n{_tail(done.stdout)}")


class Server:
    """Runs the site with one cache; a context manager that stops the server at the end of the block."""

    def __init__(self, cache, location=None, port=0, host=HOST, workers=WORKERS):
        self._log = DATA_DIR / f"gunicorn-{cache}-{host}.log"
        with _listen(host, port) as listener, self._log.open("wb") as log:
            self.host, self.port = listener.getsockname()
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "gunicorn", "bookshop.wsgi"),
                    *("--config", EXAMPLES / "harness" / "gunicorn_conf.py"),
                    *("--bind", f"fd://{listener.fileno()}"),
                ],
                cwd=SITE,
                env=_environment(cache, location, host, workers),
                pass_fds=[listener.fileno()],
                stdin=subprocess.PIPE,  # see gunicorn_conf.py
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C interrupts only the demo, which then stops the server
            )

    def __enter__(self):
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def url(self):
        return f"http://{self.host}:{self.port}/"

    @property
    def addresses(self):
        """The host and port of each machine."""
        return [(self.host, self.port)]

    def stats(self):
        """Returns the counters of the site by name."""
        return json.loads(self.get("/__stats__"))

    def get(self, path):
        """Returns the body of a page. Raises `ServerError` unless the status is 200."""
        try:
            status, body = self._fetch(path, timeout=10)
        except (OSError, HTTPException) as error:
            raise ServerError(self._with_log(f"no response to {path}: {error}")) from error
        if status != 200:
            raise ServerError(self._with_log(f"the response to {path} has status {status}; expected 200"))
        return body

    def check(self):
        """Raises `ServerError` if the server has exited."""
        if self._process.poll() is not None:
            raise ServerError(
                self._with_log(f"the server exited unexpectedly with status {self._process.returncode}")
            )

    def wait(self):
        """Waits until the server exits, then raises `ServerError`. Never returns."""
        self._process.wait()
        self.check()

    def stop(self):
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(SECONDS_TO_STOP)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        self._process.stdin.close()

    def _wait_until_ready(self):
        deadline = time.monotonic() + SECONDS_TO_START
        while time.monotonic() < deadline:
            self.check()
            try:
                self._fetch("/__stats__", timeout=1)
                return
            except (OSError, HTTPException):
                time.sleep(0.1)
        raise ServerError(self._with_log(f"the server did not respond within {SECONDS_TO_START} seconds"))

    def _fetch(self, path, timeout):
        connection = HTTPConnection(self.host, self.port, timeout=timeout)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def _with_log(self, message):
        log = self._log.read_text(errors="replace")
        return f"{message}\nThe last lines of {os.path.relpath(self._log)}:\n{_tail(log)}"


class Machines:
    """Runs the site as on two machines: a server on each of two addresses, with processes of its own.

    Both use the same database and the same Redis or Valkey server. A context manager, like `Server`.
    """

    def __init__(self, cache, location):
        self._cache, self._location = cache, location
        self._stack = contextlib.ExitStack()
        self._servers = []

    def __enter__(self):
        with self._stack as stack:
            for host in hosts():
                server = Server(self._cache, self._location, host=host, workers=WORKERS // 2)
                self._servers.append(stack.enter_context(server))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    @property
    def addresses(self):
        """The host and port of each machine."""
        return [address for server in self._servers for address in server.addresses]

    def stats(self):
        """Returns the counters of the site by name, and the commands that the cache's server has run."""
        return self._servers[0].stats() | {"commands": commands_run(self._location)}

    def get(self, path):
        """Returns the body of a page. Raises `ServerError` unless the status is 200."""
        return self._servers[0].get(path)

    def check(self):
        """Raises `ServerError` if a server has exited."""
        for server in self._servers:
            server.check()


def hosts():
    """Returns the addresses of the two machines; twice the same where the system has only one."""
    try:
        socket.create_server((OTHER_HOST, 0)).close()
    except OSError:
        return [HOST, HOST]
    return [HOST, OTHER_HOST]


def commands_run(url):
    """Returns how many commands a Redis or Valkey server has run, without those that ask for this number."""
    with redis.Redis.from_url(url) as client:
        counted = client.info("commandstats")
    return sum(command["calls"] for name, command in counted.items() if name != "cmdstat_info")


def _listen(host, port):
    try:
        return socket.create_server((host, port))
    except OSError as error:
        reason = os.strerror(error.errno)
        raise ServerError(
            f"cannot listen on port {port}: {reason}; choose another port with --port"
        ) from error


def _environment(cache, location=None, host=HOST, workers=WORKERS):
    return os.environ | {
        "DEMO_NEAR_LOCATION": f"{FILE}-{host}",
        "DEMO_WORKERS": str(workers),
        "DEMO_CACHE": cache,
        "DEMO_CACHE_LOCATION": location or "",
        "DEMO_COUNTERS": str(COUNTERS),
        "DJANGO_SETTINGS_MODULE": "bookshop.settings",
    }


def _tail(text):
    lines = text.strip().splitlines()[-LINES_OF_LOG_SHOWN:]
    return "\n".join(f"  {line}" for line in lines) or "  (empty)"
