"""`manage.py nearcache files`: the files of SharedCaches, their processes, and their removal."""

import contextlib
import io
import json
import os
import subprocess
import sys
import textwrap
import time

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from nearcache import _core
from nearcache.django import location

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="SharedCache is for Linux")

SHARED = "nearcache.django.SharedCache"
MIB = 1024**2


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """Return this user's directory, which does not exist yet."""
    monkeypatch.setattr(location, "SHARED_MEMORY", tmp_path)
    return tmp_path / f"nearcache-{os.geteuid()}"


@pytest.fixture(autouse=True)
def configured(directory, tmp_path):
    """Configure a cache by name, one by path and one that is not ours; return their files by alias."""
    (tmp_path / "disk").mkdir()
    disk = tmp_path / "disk" / "pages"
    size = {"OPTIONS": {"MAX_MEMORY": "1MB"}}
    configured = {
        "default": {"BACKEND": SHARED, "LOCATION": "site", **size},
        "again": {"BACKEND": SHARED, "LOCATION": "site", **size},
        "pages": {"BACKEND": SHARED, "LOCATION": disk, **size},
        "local": {"BACKEND": "nearcache.django.LocalCache"},
    }
    with override_settings(CACHES=configured):
        yield {"default": directory / "site", "pages": disk}


@contextlib.contextmanager
def opened_elsewhere(*paths):
    """Have another process open files meanwhile; yield its pid."""
    program = """
        import sys
        from django.conf import settings
        settings.configure(SECRET_KEY="tests")
        from nearcache.django import SharedCache
        for path in sys.argv[1:]:
            SharedCache(path, {"OPTIONS": {"MAX_MEMORY": "1MB"}}).set("key", "value")
        print("open", flush=True)
        sys.stdin.read()
    """
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, paths)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "open\n"
        yield process.pid
        process.stdin.close()
        assert process.wait(60) == 0


def create(*paths):
    """Create cache files that no process has open any longer."""
    for path in paths:
        path.parent.mkdir(mode=0o700, exist_ok=True)
    with opened_elsewhere(*paths):
        pass


def files(*arguments):
    out, errors = io.StringIO(), io.StringIO()
    call_command("nearcache", "files", *arguments, stdout=out, stderr=errors, no_color=True)
    return out.getvalue(), errors.getvalue()


def output(*arguments):
    return {one["path"]: one for one in json.loads(files("--json", *arguments)[0])}


class TestList:
    def test_creates_nothing(self, directory, configured):
        assert files() == (f"this user (uid {os.geteuid()}) has no cache files\n", "")
        assert output() == {}
        assert not directory.exists()
        assert not configured["pages"].exists()

    def test_shows_each_file_with_its_caches(self, directory, configured):
        create(configured["default"], configured["pages"], directory / "old")
        found = output()
        assert {path: one["aliases"] for path, one in found.items()} == {
            str(configured["default"]): ["default", "again"],
            str(directory / "old"): [],
            str(configured["pages"]): ["pages"],
        }
        for one in found.values():
            assert (one["kind"], one["size"], one["removed"]) == ("cache", MIB, False)
            assert 0 <= time.time() - one["opened"] < 60
            assert one["created"] is None or one["created"] <= one["opened"] + 1

    def test_shows_living_processes(self, configured):
        path = configured["default"]
        create(path)
        assert (output()[str(path)]["in_use"], output()[str(path)]["pids"]) == (False, [])
        with opened_elsewhere(path) as one, opened_elsewhere(path) as two:
            assert (output()[str(path)]["in_use"], output()[str(path)]["pids"]) == (True, sorted([one, two]))
        assert output()[str(path)]["pids"] == []

    def test_is_a_table_for_people(self, directory, configured):
        create(configured["default"], directory / "old")
        with opened_elsewhere(configured["default"]) as pid:
            head, *lines = files()[0].splitlines()
        assert head.split() == ["file", "size", "age", "opened", "ago", "processes", "cache"]
        old, site, summary = lines
        assert old.startswith(f"{directory / 'old'} ")
        assert old.split()[1:3] == ["1.0", "MB"]
        assert old.endswith(" s       none               -")
        assert site.endswith(f"1: {pid}  default, again")
        assert summary == "unused: 1 file (1.0 MB); delete with --remove"

    def test_shows_when_a_file_was_last_opened(self, configured):
        path = configured["default"]
        create(path)
        os.utime(path, (time.time() - 3 * 86_400, path.stat().st_mtime))
        assert " 3 days " in files()[0]
        assert " 3 days " in files()[0], "that it was listed is no opening"

    def test_shows_files_of_other_versions(self, directory):
        path = directory / "old"
        create(path)
        with path.open("r+b") as file:
            file.seek(8)
            file.write(b"\xff" * 8)
        assert output()[str(path)]["kind"] == "other version"
        assert "- (other version)" in files()[0]

    def test_omits_other_files(self, directory, configured):
        directory.mkdir(mode=0o700)
        (directory / "notes").write_text("something else")
        (directory / "empty").touch()
        (directory / "folder").mkdir()
        assert output("--remove") == {}
        assert sorted(path.name for path in directory.iterdir()) == ["empty", "folder", "notes"]

    def test_notes_files_that_cannot_be_used_as_configured(self, configured):
        configured["pages"].write_text("something else")
        out, errors = files("--remove")
        assert "no cache files" not in errors
        assert f"Note: {configured['pages']} is not a shared cache; delete it" in errors
        assert "removed 0 files" in out
        configured["pages"].write_bytes(b"")
        configured["pages"].chmod(0o666)
        assert "can be written by others" in files()[1]
        assert configured["pages"].exists()

    def test_of_a_bad_location_is_an_error(self):
        with (
            override_settings(CACHES={"default": {"BACKEND": SHARED, "LOCATION": "a/b"}}),
            pytest.raises(CommandError, match="LOCATION is 'a/b'"),
        ):
            files()

    def test_needs_linux(self, monkeypatch):
        monkeypatch.delattr(_core, "inspect_file")
        with pytest.raises(CommandError, match="64-bit Linux only"):
            files()


class TestRemove:
    def test_deletes_files_that_no_process_has_open(self, directory, configured):
        create(configured["pages"], directory / "old")
        with opened_elsewhere(configured["default"]):
            out, errors = files("--remove")
            assert sorted(out.splitlines()[:2]) == [
                f"removed {configured['pages']}",
                f"removed {directory / 'old'}",
            ]
            assert out.splitlines()[2:] == ["removed 2 files (2.0 MB); 1 file is in use"]
            assert errors == ""
            assert list(output()) == [str(configured["default"])]

    def test_prints_deleted_files_in_json(self, directory, configured):
        create(directory / "old")
        with opened_elsewhere(configured["default"]):
            removed = {path: one["removed"] for path, one in output("--remove").items()}
        assert removed == {str(directory / "old"): True, str(configured["default"]): False}

    def test_keeps_a_file_that_is_opened_after_the_listing(self, configured, monkeypatch):
        path = configured["default"]
        create(path)
        inspect = _core.inspect_file
        with contextlib.ExitStack() as stack:

            def opened_after(path):
                found = inspect(path)
                stack.enter_context(opened_elsewhere(path))
                return found

            monkeypatch.setattr(_core, "inspect_file", opened_after)
            out, _ = files("--remove")
        assert out == "removed 0 files (0.0 MB); 1 file is in use\n"
        assert path.exists()

    def test_deletes_files_left_by_killed_creators(self, directory, configured):
        directory.mkdir(mode=0o700)
        pages = configured["pages"]
        left = [
            directory / ".site.123-0123456789abcdef.new",
            pages.with_name(".pages.123-0123456789abcdef.new"),
        ]
        others = [pages.with_name(".other.123-0123456789abcdef.new"), pages.with_name(".pages.mine.new")]
        for path in left + others:
            path.write_bytes(bytes(4096))
        assert {one["kind"] for one in output().values()} == {"unfinished"}
        assert {path for path, one in output("--remove").items() if one["removed"]} == set(map(str, left))
        assert all(path.exists() for path in others), "not in the user's directory, or of another name"

    def test_keeps_the_file_of_running_processes(self, configured):
        path = configured["default"]
        create(path)
        with opened_elsewhere(path) as one:
            files("--remove")
            with opened_elsewhere(path) as two:
                assert output()[str(path)]["pids"] == sorted([one, two])
