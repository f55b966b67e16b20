"""Files that are truncated, overwritten or replaced while a process has them open."""

import os
import sys

import pytest

from support.shared_files import MIB, python

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="SharedCache is for Linux")


@pytest.fixture
def path(shared_memory):
    directory = shared_memory / f"overwritten-{os.urandom(4).hex()}"
    directory.mkdir()
    return directory / "file"


class TestOverwrittenFile:
    """The process is idle meanwhile. One that reads or writes is killed by SIGBUS."""

    def test_truncated_file_is_replaced_with_a_warning(self, path):
        output = python(
            """
            cache = opened()
            cache.set("key", 1)
            time.sleep(1.1)
            os.truncate(path, 4096)
            print(cache.get("key"))
            cache.set("key", 2)
            print(cache.get("key"), os.stat(path).st_size)
            """,
            path,
        )
        warning, *values = output.splitlines()
        assert "was truncated to 4096 bytes while it was in use" in warning
        assert "SIGBUS" in warning
        assert values == ["None", f"2 {MIB}"]

    def test_file_with_another_cache_is_reopened_with_a_warning(self, path):
        python("opened().set('key', 'copied')", path.with_name("other"))
        output = python(
            """
            import shutil
            cache = opened()
            cache.set("key", "own")
            time.sleep(1.1)
            shutil.copyfile(path.replace("file", "other"), path)
            print(cache.get("key"))
            """,
            path,
        )
        warning, value = output.splitlines()
        assert "was overwritten while it was in use" in warning
        assert value == "copied"

    def test_file_with_other_content_is_reported(self, path):
        output = python(
            """
            cache = opened()
            time.sleep(1.1)
            with open(path, "r+b") as file:
                file.write(b"something else" * 1000)
            for _ in range(2):
                cache.get("key")
                time.sleep(1.1)
            print("alive")
            """,
            path,
        )
        warning, value = output.splitlines()
        assert "was overwritten" in warning
        assert "is not a shared cache; delete it" in warning
        assert value == "alive"

    def test_verify_checks_the_size_before_it_reads(self, path):
        output = python(
            """
            cache = opened()
            os.truncate(path, 0)
            print(cache.verify().entries)
            """,
            path,
        )
        warning, entries = output.splitlines()
        assert "was truncated to 0 bytes" in warning
        assert entries == "0"

    def test_file_replaced_by_a_rename_is_reopened(self, path):
        python("opened().set('key', 'backup')", path)
        backup = path.with_name("backup")
        backup.write_bytes(path.read_bytes())
        backup.chmod(0o600)
        output = python(
            """
            cache = opened()
            cache.set("key", "live")
            time.sleep(1.1)
            os.rename(path.replace("file", "backup"), path)
            print(cache.get("key"))
            """,
            path,
        )
        assert output.split() == ["backup"]
