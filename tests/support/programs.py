"""Programs that serve a site of a test's or do its jobs, in processes of their own, however the test ends."""

import os
import re
import subprocess
import sys
import time

import pytest

from support.isolated import OPTIONS, end_session

DEADLINE_SECONDS = 60


class Program:
    """A Python program that runs in a folder and writes its log there, for `with`.

    What it starts ends with it.
    """

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
        """Let a loop go on; fail if the program ended, or the time is up."""
        if self.process.poll() is not None or time.monotonic() > self.deadline:
            pytest.fail(f"{self.name} ({self.process.returncode}):\n{self.log.read_text()}", pytrace=False)
        time.sleep(0.01)
        return True

    def told(self, pattern, times=1):
        """Wait until the log has what fits a pattern, so many times; return the group of the last one."""
        while self.in_time():
            if len(found := re.findall(pattern, self.log.read_text())) >= times:
                return found[times - 1]
        raise AssertionError

    def stop(self):
        """End it as a system does; return its status."""
        self.process.terminate()
        return self.process.wait(timeout=30)
