"""Servers and workers in processes of their own, which end with the test."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request

import pytest

from support.isolated import OPTIONS, end_session

DEADLINE_SECONDS = 60


class Program:
    """A Python program that runs in a folder, where its log is. `with` ends it and all that it started."""

    def __init__(self, folder, *arguments, options=OPTIONS):
        self.name = " ".join(arguments)
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *options, *arguments],
                cwd=folder,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(folder), *sys.path]))},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.deadline = time.monotonic() + DEADLINE_SECONDS

    def __enter__(self):
        return self

    def __exit__(self, *_):
        end_session(self.process)

    def in_time(self):
        """Return True while the program runs; fail if it has ended or the time is up. For `while` loops."""
        if self.process.poll() is not None or time.monotonic() > self.deadline:
            pytest.fail(f"{self.name} ({self.process.returncode}):\n{self.log.read_text()}", pytrace=False)
        time.sleep(0.01)
        return True

    def output(self, pattern, times=1):
        """Wait until a pattern occurs in the log this many times; return the group of the last occurrence."""
        while self.in_time():
            if len(found := re.findall(pattern, self.log.read_text())) >= times:
                return found[times - 1]
        raise AssertionError

    def stop(self):
        """End it with SIGTERM; return its exit status."""
        self.process.terminate()
        return self.process.wait(timeout=30)


class Gunicorn(Program):
    """A gunicorn that serves a site: the source of a module with `application`."""

    def __init__(self, folder, site, workers, options=()):
        self.workers = workers
        (folder / "site_of_test.py").write_text(site)
        settings = [
            *options,
            f"--workers={workers}",
            "--bind=127.0.0.1:0",
            "--timeout=20",
            "--graceful-timeout=5",
        ]
        super().__init__(folder, "-m", "gunicorn", *settings, "site_of_test:application")

    def address(self):
        """Wait until gunicorn listens; return its address."""
        return self.output(r"Listening at: (http://[\d.:]+)")

    def answers(self, pages):
        """Request pages until every worker has answered five times; return all answers."""
        address = self.address()
        found = []
        while self.in_time():
            with urllib.request.urlopen(f"{address}/{len(found) % pages}", timeout=15) as response:
                found.append(json.load(response))
            workers = [answer["worker"] for answer in found]
            if len(set(workers)) >= self.workers and min(map(workers.count, workers)) >= 5:
                return found
        raise AssertionError
