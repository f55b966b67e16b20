"""The promise of TieredCache where processes are killed, stopped, forked, or the clock is set."""

import os
import shutil
import subprocess
import sys
import textwrap
import time

import pytest

from support.cache_process import CacheProcess
from support.isolated import end_session
from support.redis_servers.messages import PUSH, REPLY
from support.redis_servers.rules import is_data, is_listener
from support.redis_servers.waiting import wait_until

STALENESS = 0.3
CLOCK_TICK = 0.002


def wait_until_open(process):
    def is_open():
        process.call("get", "any")  # starts a listener if there is none
        return process.stats()["near_open"]

    wait_until(is_open, "an open gate")


def hits_near(process, key):
    """Return the value of a key, and whether a near copy served it."""
    before = process.stats()["near_hits"]
    value = process.call("get", key)
    return value, process.stats()["near_hits"] > before


def wait_until_past(moment):
    wait_until(lambda: time.clock_gettime(time.CLOCK_BOOTTIME) > moment, "a moment")


@pytest.fixture
def near_location(shared_memory, request):
    return str(shared_memory / f"near-{request.node.name}")


@pytest.fixture
def start(proxied, near_location):
    """Return a function that starts a process with the machine's near tier."""
    started = []

    def start(**options):
        shared = {"NEAR": "shared", "NEAR_LOCATION": near_location, "MAX_MEMORY": "8MB"}
        started.append(
            CacheProcess(
                proxied.url, **{**shared, "MAX_STALENESS": STALENESS, "SOCKET_TIMEOUT": 5, **options}
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()


@pytest.fixture
def two(start):
    """Return two processes with a near tier in common; the first one has the listener."""
    first, second = start(), start()
    wait_until_open(first)
    assert second.call("get", "any") is None
    assert first.has_listener
    assert not second.has_listener
    return first, second


def copy(processes, key, value):
    """Let all processes read a near copy of a value."""
    processes[0].call("set", key, value)
    for process in processes:
        wait_until(lambda process=process: hits_near(process, key) == (value, True), "a near copy")


class TestListenerOfTheMachine:
    def test_processes_share_copies_and_listener(self, two, server, proxied):
        first, second = two
        # The push of this write must not end the copy, nor be taken for that of the next one.
        before = first.stats()["invalidations"]
        with proxied.watch(PUSH) as pushes:
            first.call("set", "a", 1)
            pushes.wait_passed()
        wait_until(lambda: first.stats()["invalidations"] > before, "the end of the push")
        assert hits_near(first, "a") == (1, False)
        assert hits_near(second, "a") == (1, True)
        with proxied.watch(PUSH) as pushes:
            server.command("SET", ":1:a", 2)
            pushes.wait_passed()
            wait_until(lambda: hits_near(second, "a")[0] == 2, "the new value")
            assert hits_near(first, "a") == (2, True)
        assert pushes.seen == 1

    def test_write_of_one_is_read_by_the_other_without_a_push(self, two, proxied):
        first, second = two
        copy(two, "a", 1)
        with proxied.hold(PUSH):
            second.call("set", "a", 2)
            assert first.call("get", "a") == 2
            assert second.call("get", "a") == 2

    def test_another_process_succeeds_one_that_was_killed(self, two, server):
        first, second = two
        copy(two, "a", 1)
        epoch = second.stats()["epoch"]
        first.kill()
        server.command("SET", ":1:a", 2)
        acknowledged = time.clock_gettime(time.CLOCK_BOOTTIME)

        def is_succeeded():
            start = time.clock_gettime(time.CLOCK_BOOTTIME)
            value, is_near = hits_near(second, "a")
            assert value == 2 or start < acknowledged + STALENESS + CLOCK_TICK
            return is_near and value == 2

        wait_until(is_succeeded, "a near copy of the new value")
        assert second.has_listener
        assert second.stats()["epoch"] > epoch

    def test_a_third_process_succeeds_while_the_others_are_gone(self, two, start, server):
        first, second = two
        copy(two, "a", 1)
        first.kill()
        second.kill()
        server.command("SET", ":1:a", 2)
        third = start()
        acknowledged = time.clock_gettime(time.CLOCK_BOOTTIME)
        # Until the gate shuts, the file's copy is within the promise.
        wait_until(
            lambda: time.clock_gettime(time.CLOCK_BOOTTIME) > acknowledged + STALENESS + CLOCK_TICK, ""
        )
        assert third.call("get", "a") == 2
        wait_until(lambda: hits_near(third, "a") == (2, True), "a near copy")

    def test_listener_that_was_stopped_and_resumed_does_no_harm(self, two, server):
        first, second = two
        copy(two, "a", 1)
        first.stop()
        server.command("SET", ":1:a", 2)
        wait_until(lambda: hits_near(second, "a") == (2, True), "a near copy of the new value")
        assert second.has_listener
        epoch = second.stats()["epoch"]
        first.resume()
        # It finds that its term has ended.
        wait_until(lambda: not first.has_listener, "the end of the old listener")
        assert first.call("get", "a") == 2
        for value in range(3, 50):
            server.command("SET", ":1:a", value)
            acknowledged = time.clock_gettime(time.CLOCK_BOOTTIME)
            for process in two:
                start = time.clock_gettime(time.CLOCK_BOOTTIME)
                found = process.call("get", "a")
                assert found == value or start < acknowledged + STALENESS + CLOCK_TICK
        wait_until(lambda: hits_near(first, "a") == (49, True), "a near copy")
        assert second.stats()["near_open"]
        assert second.stats()["epoch"] >= epoch
        assert [first.has_listener, second.has_listener] == [False, True]

    def test_many_changes_of_the_listener(self, two, start, server):
        """Each time, the process with the listener is killed, and another one reads no old value."""
        processes = list(two)
        for value in range(5):
            copy(processes, "a", value)
            holder = next(process for process in processes if process.has_listener)
            processes.remove(holder)
            holder.kill()
            server.command("SET", ":1:a", 100 + value)
            acknowledged = time.clock_gettime(time.CLOCK_BOOTTIME)
            other = processes[0]

            def is_new(other=other, value=value, acknowledged=acknowledged):
                start = time.clock_gettime(time.CLOCK_BOOTTIME)
                found, is_near = hits_near(other, "a")
                assert found == 100 + value or start < acknowledged + STALENESS + CLOCK_TICK
                return is_near and found == 100 + value

            wait_until(is_new, "a near copy of the new value")
            processes.append(start())


class TestSuspend:
    """A process that was stopped finds the clock as after a suspend: it goes on, and nothing else does."""

    @pytest.mark.parametrize("near", ["local", "shared"])
    def test_first_read_after_it_asks_the_server(self, start, proxied, server, near):
        process = start() if near == "shared" else start(NEAR="local", NEAR_LOCATION=None)
        wait_until_open(process)
        copy([process], "a", 1)
        # No push may arrive: the gate alone decides.
        with proxied.silence(is_listener):
            process.stop()
            server.command("SET", ":1:a", 2)
            acknowledged = time.clock_gettime(time.CLOCK_BOOTTIME)
            process.send("get", "a")
            wait_until(
                lambda: time.clock_gettime(time.CLOCK_BOOTTIME) > acknowledged + STALENESS + CLOCK_TICK,
                "the bound",
            )
            process.resume()
            assert process.receive() == 2


# Adds the number of seconds in a file to the time of day.
SHIFTED_CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) {
        FILE *file = fopen(getenv("SHIFT_FILE"), "r");
        long shift = 0;
        if (file) { if (fscanf(file, "%ld", &shift) != 1) shift = 0; fclose(file); }
        now->tv_sec += shift;
    }
    return result;
}
"""


@pytest.fixture
def set_clock(tmp_path):
    """Return a function that shifts the time of day of processes, and the environment that they need."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("no C compiler for a library that shifts the clock")
    source, library, shift = (tmp_path / name for name in ("shift.c", "shift.so", "shift"))
    source.write_text(SHIFTED_CLOCK)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    shift.write_text("0")

    def set_clock(seconds):
        beside = shift.with_suffix(".new")
        beside.write_text(str(seconds))
        beside.replace(shift)

    set_clock.environment = {"LD_PRELOAD": str(library), "SHIFT_FILE": str(shift)}
    return set_clock


class TestClockSteps:
    @pytest.mark.parametrize("near", ["local", "shared"])
    @pytest.mark.parametrize("step", [-86_400, 86_400])
    def test_step_makes_no_copy_live_longer(self, start, set_clock, server, near, step):
        named = {} if near == "shared" else {"NEAR": "local", "NEAR_LOCATION": None}
        process = start(environment=set_clock.environment, MAX_STALENESS=30, **named)
        server.command("DEBUG", "SET-ACTIVE-EXPIRE", 0)
        try:
            wait_until_open(process)
            server.command("SET", ":1:a", 1, "PX", 500)
            ends = time.clock_gettime(time.CLOCK_BOOTTIME) + 0.5 + CLOCK_TICK
            wait_until(lambda: hits_near(process, "a") == (1, True), "a near copy")
            set_clock(step)
            wait_until_past(ends)
            assert process.call("get", "a") is None
        finally:
            server.command("DEBUG", "SET-ACTIVE-EXPIRE", 1)

    def test_invalidation_after_a_step(self, start, set_clock, server):
        process = start(environment=set_clock.environment)
        wait_until_open(process)
        copy([process], "a", 1)
        for value, step in enumerate((3600, -3600, 0), 2):
            set_clock(step)
            server.command("SET", ":1:a", value)
            wait_until(lambda value=value: process.call("get", "a") == value, "the new value")
            wait_until(lambda value=value: hits_near(process, "a") == (value, True), "a near copy")


FORK = """
    import os, sys, threading, time
    from django.conf import settings
    settings.configure()
    from nearcache.django import TieredCache
    from support.redis_servers import resp
    from support.redis_servers.proxy import Proxy
    from support.redis_servers.standalone import Server
    from support.redis_servers.waiting import wait_until
    from support.redis_servers.messages import REPLY
    from support.redis_servers.rules import is_data

    NEAR = {near!r}
    STALENESS, CHILDREN = 0.3, 4

    def hits_near(cache, key):
        before = cache.stats().remote.near_hits
        return cache.get(key), cache.stats().remote.near_hits > before

    def child(number, write):
        # The copy of the parent, which is valid as long as its gate was open.
        epoch = cache.stats().remote.epoch
        assert cache.get("a") == 1
        if NEAR == "local":
            # The first request starts a listener, which invalidates what is inherited.
            assert cache.get("a", fresh=True) == 1
            wait_until(lambda: cache.stats().remote.epoch > epoch, "a listener of its own")
        wait_until(lambda: hits_near(cache, "a") == (1, True), "a near copy")
        os.write(write, b".")
        # The parent writes.
        while cache.get("go") is None:
            time.sleep(0.01)
        time.sleep(STALENESS + 0.002)
        assert cache.get("a") == 2, "read an old value"
        wait_until(lambda: hits_near(cache, "a") == (2, True), "a near copy of the new value")
        for value in range(100):
            cache.set(f"own-{{number}}", value)
            assert cache.get(f"own-{{number}}") == value
        os.write(write, b".")

    server_pid = os.getpid()
    url, port = sys.argv[1], int(sys.argv[2])
    options = {{"NEAR": NEAR, "MAX_STALENESS": STALENESS, "SOCKET_TIMEOUT": 10}}
    if NEAR == "shared":
        options |= {{"NEAR_LOCATION": sys.argv[3], "MAX_MEMORY": "8MB"}}
    cache = TieredCache(url, {{"OPTIONS": options}})
    cache.set("a", 1)
    wait_until(lambda: hits_near(cache, "a") == (1, True), "a near copy")
    # A fill is in flight in a thread, which does not exist in the children.
    filling = threading.Thread(target=lambda: cache.get("slow"))
    filling.start()
    print("filling", flush=True)
    assert sys.stdin.readline() == "held\\n"
    read, write = os.pipe()
    pids = []
    for number in range(CHILDREN):
        if (pid := os.fork()) == 0:
            try:
                child(number, write)
            except BaseException:
                import traceback
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        pids.append(pid)
    seen = b""
    while len(seen) < CHILDREN:
        seen += os.read(read, CHILDREN)
    print("forked", flush=True)
    assert sys.stdin.readline() == "released\\n"
    filling.join()
    cache.set("a", 2)
    cache.set("go", 1)
    statuses = [os.waitpid(pid, 0)[1] for pid in pids]
    assert statuses == [0] * CHILDREN, statuses
    assert cache.get("a") == 2
    print("done", flush=True)
"""


class TestFork:
    @pytest.mark.parametrize("near", ["local", "shared"])
    def test_children_of_a_process_with_listener_and_fill(self, proxied, server, near, near_location):
        server.command("SET", ":1:slow", 1)
        program = textwrap.dedent(FORK).format(near=near)
        with proxied.hold(REPLY, command=b"GET :1:slow", where=is_data) as held:
            process = subprocess.Popen(
                [sys.executable, "-c", program, proxied.url, str(proxied.port), near_location],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            try:
                assert process.stdout.readline() == "filling\n"
                held.wait_seen()
                process.stdin.write("held\n")
                process.stdin.flush()
                assert process.stdout.readline() == "forked\n"
                listeners = [x for x in proxied.connections if is_listener(x)]
                assert len(listeners) == (5 if near == "local" else 1)
                held.release()
                process.stdin.write("released\n")
                process.stdin.flush()
                assert process.stdout.readline() == "done\n"
                assert process.wait(20) == 0
            finally:
                end_session(process)
                process.communicate()
