"""`manage.py nearcache` with TieredCaches."""

import io
import json
import os

import pytest
from django.core.cache import caches
from django.core.management import call_command
from django.test import override_settings

from support.redis_servers.standalone import Server
from support.redis_servers.waiting import wait_until


def run(*arguments):
    """Run the command; return what it printed, and what it noted besides."""
    out, errors = io.StringIO(), io.StringIO()
    call_command("nearcache", *arguments, stdout=out, stderr=errors, no_color=True)
    return out.getvalue(), errors.getvalue()


@pytest.fixture
def default(request, server):
    """Configure a cache on the server; return it."""
    options = getattr(request, "param", {})
    params = {"LOCATION": server.url, "KEY_PREFIX": f"command-{request.node.name}", "OPTIONS": options}
    with override_settings(CACHES={"default": {"BACKEND": "nearcache.django.TieredCache", **params}}):
        yield caches["default"]


class TestStats:
    def test_tells_whose_they_are(self, default):
        _, notes = run("stats")
        assert "'default' is a TieredCache: each process counts for itself." in notes
        assert f"this command's process (pid {os.getpid()})" in notes
        assert "does not work" not in notes
        assert run("keys")[1] == ""

    def test_tells_why_there_are_no_near_copies(self, flavour):
        with Server(flavour, users=["bob on >secret ~* &* +@all -client|tracking"]) as server:
            url = server.url.replace("://", "://bob:secret@")
            params = {"BACKEND": "nearcache.django.TieredCache", "LOCATION": url}
            with override_settings(CACHES={"default": params}):
                cache = caches["default"]
                cache.set("key", 1)
                wait_until(
                    lambda: cache.get("key") and cache.stats().remote.near_problem, "a reason is known"
                )
                table, notes = run("stats")
                problem = json.loads(run("stats", "--json")[0])["default"]["remote"]["near_problem"]
        assert "noperm" in problem.lower()
        assert f"the near tier of 'default' does not work: {problem}" in notes
        assert "near hits" in table
        assert problem not in table


class TestClear:
    def test_deletes_the_entries_of_the_prefix(self, default, server):
        default.set("key", 1)
        default.set("key", 1, version=2)
        server.command("SET", "other:1:key", 6)
        run("clear")
        assert server.command("KEYS", "*") == [b"other:1:key"]

    @pytest.mark.parametrize("default", [{"CLEAR": "flushdb"}], indirect=True)
    def test_may_empty_the_database(self, default, server):
        server.command("SET", "other:1:key", 6)
        run("clear")
        assert server.command("DBSIZE") == 0
