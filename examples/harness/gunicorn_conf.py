"""The gunicorn configuration of the demo: worker processes as in a small Django deployment.

Connections are not kept alive, so each request goes to a free worker, as behind a reverse proxy.

If a worker dies, the server stops instead of replacing it: the cache of the new worker would be empty, which
would distort the figures.

The server stops when the demo ends, even if the demo is killed: the demo holds the other end of the server's
standard input and writes nothing to it, and each worker stops the server when it reads the end of the file.
"""

import os
import signal
from threading import Thread

workers = int(os.environ["DEMO_WORKERS"])
graceful_timeout = 2
loglevel = "warning"
# gunicorn would leave the socket in the home directory.
control_socket_disable = True


def post_worker_init(worker):
    # In the workers, because the parent forks, and a process that forks should have no threads.
    Thread(target=_stop_server_at_eof, args=(worker.ppid,), daemon=True).start()


def child_exit(server, worker):
    # Also called during a normal shutdown, where the signal has no effect.
    os.kill(server.pid, signal.SIGTERM)


def _stop_server_at_eof(server_pid):
    while os.read(0, 1):
        pass
    # If the server has already exited, this process has another parent, which must not be stopped.
    if os.getppid() == server_pid:
        os.kill(server_pid, signal.SIGTERM)
