"""The example site, served by gunicorn in a process of its own.

The listening socket is opened here and inherited by the server. So nobody can take a free port in between,
and a port that is taken is noticed before anything is started.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent.parent
SITE = EXAMPLES / "site"
DATA_DIR = EXAMPLES.parent / "build" / "demo"

HOST = "127.0.0.1"
SECONDS_TO_START = 30
SECONDS_TO_STOP = 5
LINES_OF_LOG_SHOWN = 15

# What the server's processes share, beside a cache that they may share, too.
COUNTERS = DATA_DIR / "counters"


class ServerError(Exception):
    """The site could not be prepared or served. The message is meant for the user."""


def prepare():
    """Create the database and stock the shop; quick if that was done before."""
    DATA_DIR.mkdir(parents=True, exist_ok=True)
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
    """The site with one of its caches, for `with`: it runs inside the block and not a moment longer."""

    def __init__(self, cache, location=None, port=0):
        self._log = DATA_DIR / f"gunicorn-{cache}.log"
        COUNTERS.unlink(missing_ok=True)
        with _listen(port) as listener, self._log.open("wb") as log:
            self.port = listener.getsockname()[1]
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "gunicorn", "bookshop.wsgi"),
                    *("--config", EXAMPLES / "harness" / "gunicorn_conf.py"),
                    *("--bind", f"fd://{listener.fileno()}"),
                ],
                cwd=SITE,
                env=_environment(cache, location),
                pass_fds=[listener.fileno()],
                stdin=subprocess.PIPE,  # see gunicorn_conf.py
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the demo, which then stops the server
            )

    def __enter__(self):
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def url(self):
        return f"http://{HOST}:{self.port}/"

    def stats(self):
        """The counters of the site."""
        return json.loads(self.get("/__stats__"))

    def get(self, path):
        """Fetch a page that has to be there."""
        try:
            status, body = self._fetch(path, timeout=10)
        except (OSError, HTTPException) as error:
            raise ServerError(self._with_log(f"the site did not answer {path}: {error}")) from error
        if status != 200:
            raise ServerError(self._with_log(f"the site answered {path} with status {status}"))
        return body

    def check(self):
        """Raise `ServerError` if the server is no longer there."""
        if self._process.poll() is not None:
            raise ServerError(self._with_log(f"the server ended by itself (exit {self._process.returncode})"))

    def wait(self):
        """Wait for as long as the server runs. It never returns: a server that ends is a `ServerError`."""
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

    def _wait_until_it_answers(self):
        deadline = time.monotonic() + SECONDS_TO_START
        while time.monotonic() < deadline:
            self.check()
            try:
                self._fetch("/__stats__", timeout=1)
                return
            except (OSError, HTTPException):
                time.sleep(0.1)
        raise ServerError(self._with_log(f"the server did not answer within {SECONDS_TO_START} seconds"))

    def _fetch(self, path, timeout):
        connection = HTTPConnection(HOST, self.port, timeout=timeout)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def _with_log(self, message):
        log = self._log.read_text(errors="replace")
        return f"{message}\nThe end of {os.path.relpath(self._log)}:\n{_tail(log)}"


def _listen(port):
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        reason = os.strerror(error.errno)
        raise ServerError(f"cannot listen on port {port}: {reason}; --port chooses another") from error


def _environment(cache, location=None):
    return os.environ | {
        "DEMO_CACHE": cache,
        "DEMO_CACHE_LOCATION": location or "",
        "DEMO_COUNTERS": str(COUNTERS),
        "DJANGO_SETTINGS_MODULE": "bookshop.settings",
    }


def _tail(text):
    lines = text.strip().splitlines()[-LINES_OF_LOG_SHOWN:]
    return "\n".join(f"  {line}" for line in lines) or "  (it is empty)"
