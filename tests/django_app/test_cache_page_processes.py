"""`cache_page` on a SharedCache renders a page once for all processes of the machine."""

import multiprocessing
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.cache import caches
from django.http import HttpResponse
from django.test import RequestFactory, override_settings

from nearcache.django import cache_page, location
from support.caches import new_location

PROCESSES = 4
THREADS = 4
SECONDS = 20

requests = RequestFactory()
fork = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def _cache(monkeypatch, shared_memory):
    monkeypatch.setattr(location, "SHARED_MEMORY", shared_memory)
    settings = {
        "BACKEND": "nearcache.django.SharedCache",
        "LOCATION": new_location(),
        "OPTIONS": {"MAX_MEMORY": "1MB"},
    }
    with override_settings(CACHES={"default": settings}, ALLOWED_HOSTS=["testserver"]):
        yield
        caches["default"].clear()


@pytest.fixture
def calls(tmp_path):
    """Return the file that the calls of a view are counted in."""
    file = tmp_path / "calls"
    file.touch()
    return file


def add_call(calls):
    """Count a call; return how many there are now, at least."""
    with calls.open("ab", buffering=0) as file:
        file.write(b"x")
        return calls.stat().st_size


def in_all_processes(view):
    """Call a view in many threads of several processes at once; return the contents that each process got."""
    begin = fork.Barrier(PROCESSES)
    results = fork.SimpleQueue()

    def call(_):
        try:
            return view(requests.get("/")).content
        except ZeroDivisionError:
            return b"error"

    def work():
        caches["default"].get("opens-the-file")
        begin.wait(SECONDS)
        with ThreadPoolExecutor(THREADS) as pool:
            results.put(sorted(pool.map(call, range(THREADS))))

    children = [fork.Process(target=work, daemon=True) for _ in range(PROCESSES)]
    for child in children:
        child.start()
    for child in children:
        child.join(2 * SECONDS)
        assert child.exitcode == 0
    return [results.get() for _ in children]


def test_a_page_is_rendered_once(calls):
    @cache_page(60)
    def view(request):
        add_call(calls)
        time.sleep(0.3)
        return HttpResponse(os.urandom(8).hex())

    contents = {content for process in in_all_processes(view) for content in process}
    assert len(contents) == 1
    assert calls.stat().st_size == 1


def fail():
    raise ZeroDivisionError


@pytest.mark.parametrize(
    "respond",
    [lambda: HttpResponse(status=404), lambda: HttpResponse(status=503), fail],
    ids=["404", "503", "exception"],
)
def test_processes_do_not_wait_one_after_the_other_for_what_is_not_stored(calls, respond):
    others = fork.Barrier(PROCESSES * THREADS - 1)

    @cache_page(60, lock_timeout=10**6)
    def view(request):
        if add_call(calls) > 1:
            others.wait(SECONDS)
        else:
            time.sleep(0.5)
        return respond()

    in_all_processes(view)
    assert calls.stat().st_size == PROCESSES * THREADS


def test_nobody_waits_for_a_page_that_is_too_large_for_the_file():
    everyone = None

    @cache_page(60, lock_timeout=10**6)
    def view(request):
        if everyone is not None:
            everyone.wait(SECONDS)
        return HttpResponse(bytes(3_000_000))

    view(requests.get("/"))
    view(requests.get("/"))
    everyone = threading.Barrier(THREADS)
    with ThreadPoolExecutor(THREADS) as pool:
        responses = list(pool.map(lambda _: view(requests.get("/")), range(THREADS)))
    assert {len(response.content) for response in responses} == {3_000_000}


def test_a_leader_that_is_killed_keeps_no_other_process_waiting(calls):
    @cache_page(60, lock_timeout=10**6)
    def view(request):
        if add_call(calls) == 1:
            os.kill(os.getpid(), 9)
        return HttpResponse("page")

    killed = fork.Process(target=lambda: view(requests.get("/")), daemon=True)
    killed.start()
    killed.join(SECONDS)
    assert killed.exitcode == -9
    got = []
    thread = threading.Thread(target=lambda: got.append(view(requests.get("/")).content), daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert got == [b"page"]
