"""A program finds the copies that a LocalCache stores by ``gc.get_objects()``, and may change them."""

import gc
import threading
import uuid

import pytest

from nearcache.django import LocalCache

MARK = "found by gc"


@pytest.fixture
def cache():
    cache = LocalCache("found-by-gc", {})
    yield cache
    cache.clear()


def stored_copy(given):
    """Return the dict that the cache stores of this one."""
    (found,) = (
        candidate
        for candidate in gc.get_objects()
        if type(candidate) is dict and candidate.get("mark") == MARK and candidate is not given
    )
    return found


def test_copy_that_changes_while_it_is_read_is_read_without_a_crash(cache):
    # The hash of a UUID is a Python function, so other threads run while the copy is read.
    value = {"mark": MARK, **{uuid.UUID(int=number): [number] for number in range(100)}}
    cache.set("key", value)
    stored = stored_copy(value)
    done = threading.Event()

    def change():
        number = 0
        while not done.is_set():
            number += 1
            stored.pop(uuid.UUID(int=number % 100), None)
            stored[uuid.UUID(int=number % 100)] = [number]
            stored[uuid.UUID(int=number % 1000 + 100)] = {"another": number}
            if len(stored) > 500:
                for key in list(stored)[1:400]:
                    stored.pop(key, None)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(200):
            read = cache.get("key")
            assert read is not stored
            assert read["mark"] == MARK
    finally:
        done.set()
        thread.join()


def test_copy_that_was_emptied_is_read(cache):
    value = {"mark": MARK, "list": [1]}
    cache.set("key", value)
    stored_copy(value).clear()
    # The inner list is stored beside the copy.
    assert cache.get("key") == {"list": [1]}
