"""How the demo serves the site: four processes, as a small deployment of Django would.

They have no connections that are kept open, so whoever is free answers, as behind a proxy.

A worker that dies is not replaced, as gunicorn would: the new one's empty cache would pass for the old one's.

The server must not outlive the demo, however that ends. So the demo holds the other end of the server's
standard input and never writes to it: when it reads as closed, the demo is gone, and the server stops.
"""

import os
import signal
from threading import Thread

workers = 4
graceful_timeout = 2
loglevel = "warning"
# It would be left in the home directory.
control_socket_disable = True


def post_worker_init(worker):
    # In the worker, not its parent: a process that forks had better have no threads.
    Thread(target=_stop_with_the_demo, args=(worker.ppid,), daemon=True).start()


def child_exit(server, worker):
    # Also called when the server stops as it should: then this changes nothing.
    os.kill(server.pid, signal.SIGTERM)


def _stop_with_the_demo(server_pid):
    while os.read(0, 1):
        pass
    # A server that is gone already has another parent in its place, which is not ours to stop.
    if os.getppid() == server_pid:
        os.kill(server_pid, signal.SIGTERM)
