"""`manage.py nearcache` with a SharedCache that other processes use."""

import io
import json
import os
import subprocess
import sys
import textwrap

import pytest
from django.conf import settings
from django.core.cache import caches
from django.core.management import CommandError, call_command
from django.test import override_settings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="SharedCache is for Linux")


@pytest.fixture
def path(shared_memory, request):
    return shared_memory / f"command-{request.node.name}"


@pytest.fixture(autouse=True)
def default(path):
    """Configure a shared cache and a local one; return the shared one."""
    shared = {
        "BACKEND": "nearcache.django.SharedCache",
        "LOCATION": str(path),
        "OPTIONS": {"MAX_MEMORY": "1MB"},
    }
    local = {"BACKEND": "nearcache.django.LocalCache", "LOCATION": "beside a shared one"}
    with override_settings(CACHES={"default": shared, "local": local}):
        yield caches["default"]


@pytest.fixture
def second(default, path):
    """Configure a second shared cache; return the path of its file."""
    other = path.with_name(f"{path.name}-second")
    params = {"BACKEND": "nearcache.django.SharedCache", "LOCATION": str(other)}
    with override_settings(
        CACHES={**settings.CACHES, "second": {**params, "OPTIONS": {"MAX_MEMORY": "1MB"}}}
    ):
        yield other


def run(*arguments):
    """Run the command; return what it printed, and what it noted besides."""
    out, errors = io.StringIO(), io.StringIO()
    call_command("nearcache", *arguments, stdout=out, stderr=errors, no_color=True)
    return out.getvalue(), errors.getvalue()


def output(*arguments):
    return json.loads(run(*arguments, "--json")[0])


def elsewhere(path, program):
    """Run a program in another process, which has the cache as `cache`."""
    before = """
        import sys
        from django.conf import settings
        settings.configure(SECRET_KEY="tests")
        from nearcache.django import SharedCache
        cache = SharedCache(sys.argv[1], {"OPTIONS": {"MAX_MEMORY": "1MB"}})
    """
    program = textwrap.dedent(before) + textwrap.dedent(program)
    subprocess.run([sys.executable, "-c", program, path], check=True, timeout=60)


def test_reports_that_it_created_the_file(default, path):
    note = run("stats")[1]
    assert f"{path}, the file of 'default', did not exist" in note
    assert f"uid {os.geteuid()}" in note
    del caches["default"]
    assert run("stats", "--cache", "default")[1] == ""


def test_shows_and_changes_entries_of_other_processes(default, path):
    elsewhere(path, "cache.set_many({'user:1': [1], 'user:2': 2, 'page': 'x'}); cache.get('page')")
    assert {one["key"] for one in output("keys")} == {"user:1", "user:2", "page"}
    assert output("get", "user:1")["value"] == [1]
    assert output("stats", "--cache", "default")["default"]["sets"] == 3
    assert output("delete", "--pattern", "user:*") == {"deleted": 2}
    elsewhere(path, "assert cache.get('user:1') is None and cache.get('page') == 'x'")
    assert output("clear") == {"default": {"cleared": 1}}
    elsewhere(path, "assert cache.get('page') is None")


def test_has_no_note_about_other_processes(default):
    del caches["default"]  # its file is there by now, as that of a site
    assert run("keys")[1] == ""
    assert "'local' is a LocalCache" in run("stats")[1]
    assert "default" not in run("stats")[1]


def test_stats_name_the_file(default, path):
    text, _ = run("stats", "--cache", "default")
    assert f"default is the file {path}" in text
    assert "recoveries" in text
    assert "recoveries" not in run("stats", "--cache", "local")[0]


def test_verify_reports(default, path):
    default.set("key", "x" * 100)
    text, _ = run("verify")
    assert text.startswith(f"'default' is valid: {path}\n")
    report = output("verify")["default"]
    assert (report["file"], report["entries"], report["torn"]) == (str(path), 1, 0)
    assert 100 < report["payload"] < report["memory"]


def test_verify_of_a_broken_file_fails_with_the_reason(default, path):
    for n in range(200):
        default.set(f"key{n}", "x" * 2000)
    with path.open("r+b") as file:
        file.seek(150_000)
        file.write(b"\xa5" * 300_000)
    with pytest.raises(CommandError, match=rf"'default' is damaged: {path}: shard 0: "):
        run("verify")


def test_verify_of_all_reports_the_valid_files_beside_a_broken_one(default, path, second):
    for n in range(200):
        default.set(f"key{n}", "x" * 2000)
    with path.open("r+b") as file:
        file.seek(150_000)
        file.write(b"\xa5" * 300_000)
    out = io.StringIO()
    with pytest.raises(CommandError, match="'default' is damaged"):
        call_command("nearcache", "verify", "--all", stdout=out, stderr=io.StringIO(), no_color=True)
    assert out.getvalue().startswith(f"'second' is valid: {second}\n")
    out = io.StringIO()
    with pytest.raises(CommandError, match="'default' is damaged"):
        call_command("nearcache", "verify", "--all", "--json", stdout=out, stderr=io.StringIO())
    report = json.loads(out.getvalue())
    assert set(report) == {"default", "second"}
    assert report["default"]["error"].startswith("shard 0: ")
    assert report["second"]["entries"] == 0


@pytest.mark.parametrize(
    ("arguments", "method"), [(["delete", "key"], "delete"), (["verify"], "_verify")], ids=" ".join
)
def test_a_stopped_process_is_an_error_without_traceback(default, monkeypatch, arguments, method):
    def held(*_, **__):
        raise TimeoutError("nearcache: the file: another process holds the lock")

    monkeypatch.setattr(default, method, held, raising=False)
    with pytest.raises(CommandError) as raised:
        run(*arguments)
    assert str(raised.value) == "nearcache: the file: another process holds the lock"


def test_verify_needs_a_shared_cache(default):
    with pytest.raises(CommandError, match=r"'local' has no file to verify; the SharedCaches.*: default"):
        run("verify", "--cache", "local")


def test_verify_of_all_needs_a_shared_cache():
    only = {"default": {"BACKEND": "nearcache.django.LocalCache"}}
    with (
        override_settings(CACHES=only),
        pytest.raises(CommandError, match="SharedCaches in CACHES are: none"),
    ):
        run("verify", "--all")
