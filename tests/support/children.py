"""Runs functions in child processes."""

import os


def in_a_child(work):
    """Run something in a process of its own, which writes to the same file."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
