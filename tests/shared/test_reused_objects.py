"""Immutable values that a process has read are returned again as the same object while the file has them."""

import gc
import os
import sys
import threading

import pytest
from django.utils.safestring import SafeString, mark_safe

from nearcache.django import SharedCache
from support.children import in_a_child

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="SharedCache is for Linux")

LENGTH = 1000
MAY_KEEP = 64 * 1024


@pytest.fixture
def cache(shared_memory):
    """Return a cache in a file of its own."""
    return SharedCache(
        str(shared_memory / f"kept-{os.urandom(4).hex()}"),
        {"OPTIONS": {"MAX_MEMORY": 1024**2, "OBJECT_CACHE": MAY_KEEP}},
    )


def text(number=0):
    return f"{number:08}".ljust(LENGTH, "x")


@pytest.mark.parametrize(
    "value",
    [text(), "é" * LENGTH, "\u20ac" * 300, b"b" * LENGTH, 1 << 8 * LENGTH, mark_safe(text())],
    ids=["ascii", "latin-1", "utf-8", "bytes", "int", "safe"],
)
def test_immutable_value_is_returned_as_the_same_object(cache, value):
    cache.set("key", value)
    found = cache.get("key")
    assert found == value
    assert type(found) is type(value)
    assert cache.get("key") is found


def test_mutable_value_is_returned_as_a_new_object(cache):
    cache.set("key", {"text": text()})
    cache.get("key")["text"] = "changed"
    assert cache.get("key") == {"text": text()}


def test_safe_string_and_plain_string_are_not_confused(cache):
    for value in (text(), SafeString(text()), text()):
        cache.set("key", value)
        assert type(cache.get("key")) is type(value)
        assert type(cache.get("key")) is type(value)


def test_another_process_writes_another_value_of_the_same_length(cache):
    cache.set("key", text(1))
    for number in range(2, 5):
        assert cache.get("key") == cache.get("key") == text(number - 1)
        in_a_child(lambda number=number: cache.set("key", text(number)))
        assert cache.get("key") == text(number)


@pytest.mark.parametrize(
    "remove",
    [
        lambda cache: cache.delete("key"),
        lambda cache: cache.clear(),
        lambda cache: cache.touch("key", -1),
        lambda cache: cache.set("key", text(), 0),
    ],
    ids=["delete", "clear", "touch", "set"],
)
def test_removed_value_is_not_returned(cache, remove):
    cache.set("key", text())
    assert cache.get("key") is cache.get("key")
    in_a_child(lambda: remove(cache))
    assert cache.get("key") is None


def test_hit_is_counted(cache):
    cache.set("key", text())
    cache.reset_stats()
    for _ in range(5):
        cache.get("key")
    assert (cache.stats().hits, cache.stats().misses) == (5, 0)


def test_memory_for_objects_is_bounded(cache):
    for number in range(300):
        cache.set(f"key-{number}", text(number))
    found = [cache.get(f"key-{number}") for number in range(300)]
    (alone,) = [sys.getrefcount(value) for value in [object()]]
    kept = [value for value in found if sys.getrefcount(value) > alone]
    assert 0 < len(kept) * LENGTH <= MAY_KEEP


def test_large_value_is_not_reused(cache):
    cache.set("key", "x" * (MAY_KEEP // 2))
    assert cache.get("key") is not cache.get("key")


def test_threads_read_what_others_write(cache):
    cache.set("key", text(0))
    wrong = []

    def read():
        last = 0
        while last < 500:
            number = int(cache.get("key")[:8])
            if number < last:
                wrong.append((last, number))
            last = max(last, number)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(1, 501):
        cache.set("key", text(number))
    for reader in readers:
        reader.join()
    gc.collect()
    assert not wrong
