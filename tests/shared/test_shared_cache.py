"""SharedCache: its file, LOCATION, OPTIONS and values."""

import logging
import math
import os
import stat
import sys
import time
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from nearcache.django import LocalCache, SharedCache, location
from support.shared_files import MIB, opened, python

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="SharedCache is for Linux")


def complaint(where, **params):
    with pytest.raises(ImproperlyConfigured) as raised:
        SharedCache(str(where), params)
    text = str(raised.value)
    assert text.startswith("nearcache: ")
    return text


class TestFile:
    def test_of_a_name_is_in_a_directory_of_the_user(self, memory):
        cache = opened("pages")
        assert cache.path == memory / f"nearcache-{os.geteuid()}" / "pages"
        assert stat.S_IMODE(cache.path.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(cache.path.stat().st_mode) == 0o600
        assert cache.path.stat().st_size == MIB
        assert cache.path.stat().st_blocks * 512 >= MIB, "a full file system shows now, and not later"

    def test_of_a_path_is_at_that_path(self, path):
        assert opened(path).path == path
        assert path.is_file()

    def test_without_a_location_is_the_project_s(self, memory):
        cache = opened("")
        assert cache.path.name.startswith("default-")
        assert opened("").path == cache.path
        with override_settings(SECRET_KEY="another project's"):
            assert opened("").path != cache.path

    def test_without_a_name_nor_a_secret_is_refused(self, memory):
        with override_settings(SECRET_KEY=""):
            assert "needs a SECRET_KEY" in complaint("")

    def test_deleted_while_in_use_is_recreated_for_all(self, path):
        cache = opened(path)
        cache.set("old", 1)
        path.unlink()
        assert cache.get("old") == 1, "for a while it is the same"
        time.sleep(1.1)
        assert cache.get("old") is None
        cache.set("new", 2)
        assert python("print(opened(path).get('new'))", path) == "2"

    def test_replaced_while_in_use_is_reopened_with_any_size(self, path):
        cache = opened(path)
        cache.set("old", 1)
        python("opened(path, MAX_MEMORY='2MB').set('new', 2)", path)
        time.sleep(1.1)
        assert cache.get("new") == 2
        assert cache.stats().max_memory == 2 * MIB
        assert path.stat().st_size == 2 * MIB

    def test_of_another_size_is_recreated_with_a_warning(self, path, caplog):
        python("opened(path).set('old', 1)", path)
        with caplog.at_level(logging.WARNING, "nearcache"):
            assert opened(path, MAX_MEMORY="2MB").get("old") is None
            opened(path, MAX_MEMORY="2MB")
        (record,) = caplog.records
        assert f"{path} was recreated" in record.getMessage()
        assert f"it had {MIB} bytes, and MAX_MEMORY is {2 * MIB}" in record.getMessage()

    def test_of_another_format_is_recreated_with_a_warning(self, path, caplog):
        python("opened(path).set('old', 1)", path)
        with path.open("r+b") as file:
            file.seek(8)
            file.write((99).to_bytes(8, sys.byteorder))
        with caplog.at_level(logging.WARNING, "nearcache"):
            assert opened(path).get("old") is None
        (record,) = caplog.records
        assert "format of another release" in record.getMessage()

    def test_with_the_same_settings_is_opened_without_a_warning(self, path, caplog):
        python("opened(path).set('old', 1)", path)
        with caplog.at_level(logging.WARNING, "nearcache"):
            assert opened(path).get("old") == 1
        assert caplog.records == []

    def test_of_another_size_in_the_same_process_is_refused(self, path):
        opened(path)
        text = complaint(path, OPTIONS={"MAX_MEMORY": "2MB"})
        assert "is open in this process with MAX_MEMORY 1048576" in text

    def test_can_be_verified(self, path):
        cache = opened(path)
        cache.set_many({"a": "x" * 100, "b": 1})
        found = cache.verify()
        assert (found.entries, found.torn) == (2, 0)
        assert found.payload == len(":1:a") + 100 + len(":1:b") + 8
        assert found.payload < found.memory < found.payload + 100

    def test_of_another_program_is_not_overwritten(self, path):
        path.write_bytes(os.urandom(MIB))
        path.chmod(0o600)
        before = path.read_bytes()
        assert f"{path} is not a shared cache; delete it" in complaint(path)
        assert path.read_bytes() == before

    def test_damaged_while_in_use_causes_only_misses(self, path):
        cache = opened(path)
        cache.set_many({f"key{n}": f"value{n}" * 20 for n in range(1000)})
        with path.open("r+b") as file:
            for place in range(300_000, MIB - 8, 4099):
                file.seek(place)
                file.write(os.urandom(8))
        for n in range(1000):
            assert cache.get(f"key{n}") in {None, f"value{n}" * 20}
            cache.set(f"key{n}", n)
        cache.clear()
        cache.set("key", 1)
        assert cache.get("key") == 1


class TestBadLocation:
    @pytest.mark.parametrize("name", ["a/b", "../up", ".hidden", "-dash", "spa ce", "ä", "x" * 129, "nul\0"])
    def test_of_no_name(self, memory, name):
        assert "LOCATION is" in complaint(name)

    @pytest.mark.parametrize("value", [None, 5, b"bytes", ["list"]])
    def test_of_no_text(self, memory, value):
        with pytest.raises(ImproperlyConfigured, match="a name or an absolute path"):
            SharedCache(value, {})

    def test_where_there_is_no_directory(self, memory):
        assert "there is no directory" in complaint(memory / "none" / "cache")

    def test_too_long_directory_name(self, memory):
        assert "LOCATION is" in complaint(f"/{'x' * 300}/cache")

    def test_that_is_a_directory(self, memory):
        assert "not a regular file" in complaint(memory)

    def test_that_is_a_pipe(self, path):
        os.mkfifo(path)
        assert "not a regular file" in complaint(path)

    def test_that_is_a_link(self, memory, path):
        opened(memory / "target")
        path.symlink_to(memory / "target")
        assert "not a regular file" in complaint(path)

    def test_that_others_may_write(self, path):
        path.touch()
        path.chmod(0o666)
        assert "can be written by others" in complaint(path)

    def test_in_a_directory_open_to_others(self, memory):
        (memory / f"nearcache-{os.geteuid()}").mkdir(mode=0o755)
        (memory / f"nearcache-{os.geteuid()}").chmod(0o755)
        assert "chmod 700" in complaint("name")

    def test_symbolic_link_in_place_of_the_directory(self, memory):
        (memory / f"nearcache-{os.geteuid()}").symlink_to(memory)
        assert "not a directory of this user" in complaint("name")

    def test_where_there_is_no_shared_memory(self, memory, monkeypatch):
        monkeypatch.setattr(location, "SHARED_MEMORY", memory / "none")
        assert "LOCATION to the absolute path" in complaint("name")

    def test_on_a_platform_without(self, monkeypatch):
        class Elsewhere(SharedCache):
            @property
            def _open_shared(self):
                raise AttributeError

        with pytest.raises(ImproperlyConfigured, match=r"Linux only.*LocalCache runs everywhere"):
            Elsewhere("name", {})


class TestBadOptions:
    @pytest.mark.parametrize(
        "size", [0, 1, MIB - 1, "1023KB", 1024**4 + 1, "2TB", "much", None, True, 1.5e6 + 0.5]
    )
    def test_size(self, path, size):
        text = complaint(path, OPTIONS={"MAX_MEMORY": size})
        assert 'OPTIONS["MAX_MEMORY"] is' in text

    def test_unknown(self, path):
        text = complaint(path, OPTIONS={"MAX_MEMROY": 1})
        assert "Did you mean 'MAX_MEMORY'? SharedCache accepts MAX_MEMORY" in text
        assert "EVICTION" in complaint(path, OPTIONS={"EVICTION": "lru"})

    def test_no_room(self, path):
        text = complaint(path, OPTIONS={"MAX_MEMORY": "1TB"})
        assert "no space for" in text
        assert not path.exists()

    def test_of_locmem_are_taken(self, path):
        opened(path, MAX_ENTRIES=3, CULL_FREQUENCY=2).set_many({str(n): n for n in range(10)})
        assert opened(path).stats().entries == 10


class TestValues:
    def test_too_large_value_is_rejected_counted_and_logged_once(self, path, caplog):
        cache = opened(path)
        cache.set("key", "old")
        with caplog.at_level(logging.WARNING, "nearcache"):
            assert cache.set("key", b"x" * MIB) is None
            assert cache.set_many({"a": 1, "b": b"x" * MIB}) == ["b"]
        assert cache.get("key") is None
        assert cache.stats().rejections == 2
        (record,) = caplog.records
        assert "1048576 bytes" in record.getMessage()
        assert "key" in record.getMessage()

    @pytest.mark.parametrize("share", [16])
    def test_large_value_is_stored(self, path, share):
        cache = opened(path)
        cache.set("key", b"x" * (MIB // share))
        assert cache.get("key") == b"x" * (MIB // share)

    def test_too_long_key_is_an_error(self, path):
        cache = opened(path)
        cache.validate_key = lambda key: None
        key = "k" * 65_536
        for write in (cache.set, cache.add):
            with pytest.raises(ValueError, match="expected at most 65535"):
                write(key, 1)
        with pytest.raises(ValueError, match="expected at most 65535"):
            cache.incr(key)
        assert (cache.get(key), cache.delete(key), cache.touch(key)) == (None, False, False)
        cache.set("k" * 65_000, 1)
        assert cache.get("k" * 65_000) == 1

    def test_value_that_cannot_be_unpickled_is_a_miss_logged_once(self, path, caplog):
        cache = opened(path)
        python(
            """
            import types
            module = sys.modules["elsewhere"] = types.ModuleType("elsewhere")
            class Thing: pass
            Thing.__module__, Thing.__qualname__ = "elsewhere", "Thing"
            module.Thing = Thing
            opened(path).set_many({"one": Thing(), "two": Thing()})
            """,
            path,
        )
        with caplog.at_level(logging.WARNING, "nearcache"):
            assert cache.get("one", "default") == "default"
            assert cache.get_many(["one", "two"]) == {}
        stats = cache.stats()
        assert (stats.hits, stats.misses, stats.unreadable) == (0, 3, 3)
        (record,) = caplog.records
        assert "elsewhere" in record.getMessage()
        assert cache.get_or_set("one", 5) is not None

    def test_interruption_is_raised(self, path):
        cache = opened(path)
        cache.set("key", Interrupting())
        with pytest.raises(KeyboardInterrupt):
            cache.get("key")

    @pytest.mark.parametrize(
        "number",
        [0, -1, 2**63 - 1, -(2**63), 2**63, -(2**63) - 1, 2**64, 10**1000, -(10**1000), 0.0, -0.0, math.inf],
    )
    def test_numbers_are_returned_as_stored(self, path, number):
        cache = opened(path)
        cache.set("key", number)
        found = cache.get("key")
        assert (type(found), repr(found)) == (type(number), repr(number))

    @pytest.mark.parametrize(
        ("value", "delta"),
        [(1, 1), (2**63 - 1, 1), (-(2**63), -1), (2**100, 1), (1, 2**70), (True, 1), (1, 0.5)],
    )
    def test_sums_are_those_of_python(self, path, value, delta):
        cache = opened(path)
        cache.set("key", value, 100)
        assert cache.incr("key", delta) == value + delta
        assert cache.get("key") == value + delta
        assert cache.ttl("key") == 100

    @pytest.mark.parametrize("use", ["incr", "set"])
    def test_value_that_is_written_repeatedly_stays(self, path, use):
        cache = opened(path)
        cache.set("key", 0)
        for number in range(5000):
            if use == "incr":
                assert cache.incr("key") == number + 1
            else:
                assert cache.set("key", number, xx=True)
            cache.set(f"other{number}", "x" * (number * 7 % 1500))


class Interrupting:
    def __reduce__(self):
        return interrupt, ()


def interrupt():
    raise KeyboardInterrupt


class TestOthers:
    def test_is_not_a_local_cache(self, path):
        cache = opened(path)
        assert not isinstance(cache, LocalCache)
        with pytest.raises(TypeError, match="no file"):
            LocalCache("verified", {})._verify()

    def test_child_that_cannot_register_reads_and_reports_why_it_cannot_write(self, path):
        output = python(
            """
            import os, resource
            cache = opened(path)
            cache.set("key", "parent's")
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))  # the child cannot open the file again
            if child := os.fork():
                sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            try:
                cache.set("key", "child's")
            except OSError as error:
                print(error, cache.get("key"), flush=True)
            os._exit(0)
            """,
            path,
        )
        assert "this process cannot write, because it cannot register" in output
        assert "Too many open files" in output
        assert output.endswith(" parent's")

    def test_location_may_be_a_path_object(self, path):
        assert SharedCache(Path(path), {"OPTIONS": {"MAX_MEMORY": MIB}}).path == path
