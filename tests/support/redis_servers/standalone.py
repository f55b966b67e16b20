"""One server process."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import quote

from support.redis_servers import resp
from support.redis_servers.binaries import default_flavour
from support.redis_servers.ports import free_port
from support.redis_servers.waiting import wait_until

ATTEMPTS = 5
STOP_SECONDS = 10

# Becomes the server. Beside it, a shell reads a pipe whose other end only the process of the tests has, which
# never writes to it: when that process ends, in whatever way, the pipe ends, and the shell kills the server
# and removes its folder, which is $0.
GUARDED = (
    'exec 3<&0; (read -r _; kill -9 $$; rm -rf "$0") <&3 3<&- >/dev/null 2>&1 & exec "$@" </dev/null 3<&-'
)


class StartError(Exception):
    """A server did not start; the message has its log."""


def quoted(text):
    """Return a word of a configuration file that may contain spaces and quotes."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Server:
    """A Redis or Valkey server on a loopback port and a unix socket. `with` ends it and removes its files.

    Attributes: `port`, `address` (host and port), `socket` (path), `url`, `unix_url`, `pid`, `flavour`.
    """

    def __init__(
        self, flavour=None, *, password=None, users=(), primary=None, tls=None, is_sentinel=False, **config
    ):
        """Start it, and wait until it answers.

        `users` are ACL rules, such as `"alice on >secret ~app:* +@all"`. `primary` is the `Server` that this
        one replicates. `tls` is a `Certificates`, for a flavour with TLS: `port` then takes TLS only.
        `config` has the server's own options, with underscores; a list repeats one.
        """
        self.flavour = flavour or default_flavour()
        self.password = password
        self.tls = tls
        self._mode = ["--sentinel"] if is_sentinel else []
        self._options = self._defaults(is_sentinel) | self._security(password, users, tls)
        if primary is not None:
            self._options["replicaof"] = f"127.0.0.1 {primary.port}"
            if primary.password is not None:
                self._options["masterauth"] = quoted(primary.password)
        self._options |= {name.replace("_", "-"): value for name, value in config.items()}
        self.folder = Path(tempfile.mkdtemp(prefix="nearcache-server-", dir="/tmp"))
        self.socket = str(self.folder / "socket")
        self._process = None
        try:
            self._start_on_free_port(config.get("port"))
        except BaseException:
            self.close()
            raise

    def _defaults(self, is_sentinel):
        options = {
            "bind": "127.0.0.1",
            "protected-mode": "no",
            "loglevel": "notice",
        }
        if is_sentinel:
            return options
        options |= {"save": '""', "appendonly": "no", "repl-diskless-sync-delay": "0"}
        if self.flavour.version >= (7,):
            options |= {"enable-debug-command": "yes", "shutdown-timeout": "0"}
        return options

    @staticmethod
    def _security(password, users, tls):
        options = {"user": list(users)}
        if password is not None:
            options["requirepass"] = quoted(password)
        if tls is not None:
            options |= {
                "tls-cert-file": tls.certificate,
                "tls-key-file": tls.key,
                "tls-ca-cert-file": tls.authority,
                "tls-auth-clients": "optional",
            }
        return options

    def _start_on_free_port(self, port):
        for attempt in range(1, ATTEMPTS + 1):
            self.port = port or free_port()
            self._write_config()
            try:
                return self.start()
            except StartError as error:
                # Another program may have taken the port meanwhile.
                if port or attempt == ATTEMPTS or "in use" not in str(error):
                    raise
        raise AssertionError

    def _write_config(self):
        ports = {"port": self.port} if self.tls is None else {"port": 0, "tls-port": self.port}
        options = self._options | ports | {"dir": self.folder, "unixsocket": self.socket}
        lines = [
            f"{name} {value}\n"
            for name, values in options.items()
            for value in (values if isinstance(values, list) else [values])
        ]
        (self.folder / "server.conf").write_text("".join(lines))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def address(self):
        return ("127.0.0.1", self.port)

    @property
    def url(self):
        scheme = "redis" if self.tls is None else "rediss"
        return f"{scheme}://{self.login}127.0.0.1:{self.port}/0"

    @property
    def unix_url(self):
        return f"unix://{self.login}{self.socket}?db=0"

    @property
    def login(self):
        return "" if self.password is None else f":{quote(self.password, safe='')}@"

    @property
    def pid(self):
        return self._process.pid

    @property
    def is_running(self):
        return self._process is not None and self._process.poll() is None

    @property
    def log(self):
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def client(self, **options):
        """Return a new connection by the unix socket: a `resp.Client`."""
        return resp.Client(self.socket, **{"password": self.password, **options})

    def command(self, *arguments):
        """Run one command on a connection of its own, as the default user; return the reply."""
        with self.client() as client:
            return client.command(*arguments)

    def info(self, section="everything"):
        """Return the fields of INFO as strings."""
        lines = self.command("INFO", section).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def start(self):
        """Start it after `stop` or `kill`, on the same port, and wait until it answers."""
        with contextlib.suppress(FileNotFoundError):
            Path(self.socket).unlink()
        server = [self.flavour.path, self.folder / "server.conf", *self._mode]
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", GUARDED, self.folder, *server],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            wait_until(self._answers, f"{self.flavour} answers")
        except TimeoutError as error:
            raise StartError(f"{error}\n{self.log}") from error

    def _answers(self):
        if not self.is_running:
            raise StartError(f"{self.flavour} ended with {self._process.returncode}\n{self.log}")
        # By its own socket: on the port might be another server.
        try:
            return self.command("PING") == b"PONG"
        except resp.ReplyError as error:
            return str(error).startswith("NOAUTH")

    def stop(self):
        """Stop it with SIGTERM, as an administrator does."""
        self.resume()
        self._process.terminate()
        self._process.wait(STOP_SECONDS)
        self._end()

    def kill(self):
        """Kill it with SIGKILL."""
        self._end()

    def restart(self):
        """Stop and start it; the data is lost."""
        self.stop()
        self.start()

    def pause(self):
        """Stop its process with SIGSTOP: the kernel still accepts connections, nobody answers."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self):
        """Continue its process after `pause`."""
        self._process.send_signal(signal.SIGCONT)

    def close(self):
        """Kill it, and remove its files."""
        self._end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self):
        if self._process is None:
            return
        # The guard, too, before its pipe ends: it would remove the folder.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process.stdin.close()
