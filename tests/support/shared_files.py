"""Opens SharedCaches here and in other processes."""

import textwrap

from nearcache.django import SharedCache
from support.isolated import start

MIB = 1024**2

PROGRAM = """
import logging, os, socket, sys, threading, time
from django.conf import settings
settings.configure(SECRET_KEY="tests")
from nearcache.django import SharedCache, location
logging.basicConfig(format="log: %(message)s", stream=sys.stdout)
path, *arguments = sys.argv[1:]

def opened(where=None, **options):
    return SharedCache(str(where or path), {"OPTIONS": {"MAX_MEMORY": 1024**2, **options}})

def in_child(work):
    sys.stdout.flush()
    if child := os.fork():
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status:
            sys.exit(f"a child ended with {status}")
    else:
        try:
            work()
            sys.stdout.flush()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)

def become_nobody():
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
"""


def opened(where, **options):
    return SharedCache(str(where), {"OPTIONS": {"MAX_MEMORY": MIB, **options}})


def python(program, *arguments):
    """Run a program in a new process, after `PROGRAM`; return its output and log."""
    done, output, errors = start("-c", PROGRAM + textwrap.dedent(program), *map(str, arguments))
    assert done.returncode == 0, (done.returncode, output, errors)
    return output.strip()
