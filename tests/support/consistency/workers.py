"""The processes of a run."""

import json
import os
import signal
import subprocess
import sys

from support.cache_process import LISTENER, threads_of


class Workers:
    """Starts, stops and kills the processes. `with` kills those that are left."""

    def __init__(self, folder, settings):
        """`settings` has what `worker.py` reads, as a list with one dict for each process."""
        self._folder = folder
        self._settings = settings
        self._processes = {}

    def __enter__(self):
        for slot in range(len(self._settings)):
            self.start(slot)
        return self

    def __exit__(self, *_):
        for process in self._processes.values():
            process.kill()
            process.wait()

    @property
    def slots(self):
        return list(self._processes)

    def start(self, slot):
        """Start a process; it takes the place of one that was killed."""
        with (self._folder / f"worker-{slot}.log").open("ab") as log:
            self._processes[slot] = subprocess.Popen(
                [sys.executable, "-m", "support.consistency.worker", json.dumps(self._settings[slot])],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def kill(self, slot):
        self._processes[slot].kill()
        self._processes[slot].wait()

    def stop(self, slot):
        self._processes[slot].send_signal(signal.SIGSTOP)

    def resume(self, slot):
        self._processes[slot].send_signal(signal.SIGCONT)

    def with_listener(self, *, shared):
        """Return the slots of the processes in which a listener runs, for themselves or for the machine."""
        return [
            slot
            for slot, process in self._processes.items()
            if (self._settings[slot]["options"]["NEAR"] == "shared") is shared
            and process.poll() is None
            and LISTENER in threads_of(process.pid)
        ]

    def failures(self):
        """Return the logs of the processes that ended with an error."""
        return [
            f"worker {slot} ended with {process.returncode}:\n"
            + (self._folder / f"worker-{slot}.log").read_text(errors="replace")
            for slot, process in self._processes.items()
            if process.poll() not in (None, 0)
        ]

    def wait(self, roles, timeout):
        """Wait until the processes of some roles have ended."""
        for slot, process in self._processes.items():
            if self._settings[slot]["role"] in roles:
                process.wait(timeout)
