"""`manage.py nearcache`: its actions, their output and their errors."""

import datetime as dt
import io
import json
import os
from importlib import import_module

import pytest
from django.core.cache import caches
from django.core.management import CommandError, call_command
from django.test import override_settings

from nearcache.django import LocalCache
from support.isolated import run

OURS = "nearcache.django.LocalCache"
ACTIONS = [("stats",), ("keys",), ("get", "key"), ("delete", "key"), ("clear",), ("verify",)]
actions = pytest.mark.parametrize("arguments", ACTIONS, ids=lambda arguments: arguments[0])


class Subclass(LocalCache):
    """Somebody's own."""


class Session:
    def __repr__(self):
        return "<a session>"


# This module is a session engine, too.
KEY_PREFIX = "own-engine:"


class SessionStore:
    cache_key_prefix = "own-store:"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def default():
    """Configure caches of ours and of others; return the default one."""
    configured = {
        "default": {"BACKEND": OURS, "LOCATION": "command", "KEY_PREFIX": "site"},
        "pages": {
            "BACKEND": f"{__name__}.Subclass",
            "LOCATION": "command pages",
            "OPTIONS": {"MAX_ENTRIES": 10},
        },
        "unnamed": {"BACKEND": OURS, "LOCATION": "command unnamed", "KEY_FUNCTION": lambda key, *_: key},
        "django": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
        "nowhere": {"BACKEND": "not.to.be.Found"},
    }
    with override_settings(CACHES=configured):
        yield caches["default"]
        for alias in ("default", "pages", "unnamed"):
            caches[alias].clear()
            caches[alias].reset_stats()


def output(*arguments, out=None):
    """Run the command; return what it printed."""
    out = out or io.StringIO()
    call_command("nearcache", *arguments, stdout=out, stderr=io.StringIO(), no_color=True)
    return out.getvalue()


def note(*arguments):
    """Run the command; return what it noted besides."""
    errors = io.StringIO()
    call_command("nearcache", *arguments, stdout=io.StringIO(), stderr=errors, no_color=True)
    return errors.getvalue()


def printed(*arguments):
    return json.loads(output(*arguments, "--json"))


class TestStats:
    def test_is_a_table_of_all_our_caches(self, default):
        default.set_many({"a": 1, "b": 2})
        default.get_many(["a", "b", "c"])
        lines = output("stats").splitlines()
        assert lines[0].split() == ["default", "pages", "unnamed"]
        table = {line[:16].strip(): line[16:].split() for line in lines[1:]}
        assert table["hits"] == ["2", "0", "0"]
        assert table["hit ratio"] == ["66.7%", "-", "-"]
        assert table["entries"] == ["2", "0", "0"]
        assert table["flights"] == ["0", "0", "0"]
        assert table["time saved"] == ["0.0", "s"] * 3
        assert table["max entries"] == ["-", "10", "-"]
        assert table["max memory"][:2] == ["65,536.0", "KB"]
        assert len({len(line) for line in lines}) == 1

    def test_is_of_one_cache_if_it_is_named(self, default):
        assert output("stats", "--cache", "pages").splitlines()[0].split() == ["pages"]
        assert list(printed("stats", "--cache", "pages")) == ["pages"]

    def test_is_complete_in_json(self, default):
        default.set("key", 1)
        stats = printed("stats")["default"]
        names = {name for name in dir(default.stats()) if not name.startswith("_")}
        assert set(stats) == names
        assert (stats["sets"], stats["hit_ratio"], stats["max_memory"]) == (1, None, 64 * 1024**2)


class TestKeys:
    def test_are_listed_with_their_time_to_live(self, default):
        default.set("mortal", 1, 1000)
        default.set("immortal", 1, None)
        first, *lines = output("keys", "--ttl").splitlines()
        assert first.split() == ["ttl", "key"]
        assert sorted(line.split() for line in lines) == [["-", "immortal"], ["1000", "mortal"]]
        assert sorted(printed("keys"), key=lambda one: one["key"]) == [
            {"key": "immortal", "ttl": None},
            {"key": "mortal", "ttl": 1000},
        ]

    def test_are_those_that_match(self, default):
        default.set_many({"user:1": 1, "user:2": 2, "page:1": 3})
        assert len(printed("keys", "user:*")) == 2
        assert len(printed("keys", "--limit", "1")) == 1
        assert printed("keys", "--limit", "0") == []
        assert printed("keys", "none*") == []

    def test_are_of_the_version_and_the_cache(self, default):
        default.set("second", 1, version=2)
        caches["pages"].set("page", 1)
        assert printed("keys") == []
        assert [one["key"] for one in printed("keys", "--key-version", "2")] == ["second"]
        assert [one["key"] for one in printed("keys", "--cache", "pages")] == ["page"]

    def test_have_a_time_to_live_on_a_terminal_only(self, default):
        default.set("key", 1, 1000)
        assert output("keys") == "key\n"
        assert output("keys", out=Terminal()) == "       ttl  key\n      1000  key\n"
        assert output("keys", "--no-ttl", out=Terminal()) == "key\n"

    def test_of_other_versions_and_prefixes_are_counted(self, default):
        default.set_many({"one": 1, "two": 2}, version=2)
        assert "left out 2 keys of 'default' with another version" in note("keys", "none*")
        assert "2 keys" in note("keys", "--json")
        default.set("own", 1)
        assert "left out 1 key of 'default' with another version" in note("keys", "--key-version", "2")
        assert "left out at least" in note("keys", "--key-version", "2", "--limit", "2")
        with override_settings(CACHES={"default": {"BACKEND": OURS, "LOCATION": "command"}}):
            assert output("keys") == ""
            assert "left out 3 keys" in note("keys")

    def test_of_other_versions_are_counted_where_a_function_makes_keys(self):
        maker = {"KEY_FUNCTION": lambda key, _, version: f"{version}/{key}"}
        reverse = {"REVERSE_KEY_FUNCTION": lambda stored: stored.partition("/")[2]}
        configured = {"BACKEND": OURS, "LOCATION": "command reversed", **maker, **reverse}
        with override_settings(CACHES={"default": configured}):
            caches["default"].set("key", 1, version=2)
            assert "left out 1 key " in note("keys")
            caches["default"].clear()

    def test_all_of_one_version_need_no_note(self, default):
        default.set("key", 1)
        assert "left out" not in note("keys")

    @pytest.mark.parametrize("engine", ["cache", "cached_db"])
    def test_of_sessions_are_hidden(self, default, engine):
        store = import_module(f"django.contrib.sessions.backends.{engine}").SessionStore
        default.set_many({store.cache_key_prefix + "secret": 1, "page": 2})
        for arguments in (["keys"], ["keys", "--ttl"], ["keys", "django.*"], ["keys", "--json"]):
            assert "secret" not in output(*arguments) + note(*arguments)
        assert "left out 1 session key of 'default'" in note("keys")
        assert [one["key"] for one in printed("keys", "--limit", "1")] == ["page"]
        assert "secret" in output("keys", "--show-sessions")
        assert "session" not in note("keys", "--show-sessions")

    def test_of_another_session_engine_are_hidden(self, default):
        default.set_many({"own-engine:secret": 1, "own-store:secret": 2, "page": 3})
        with override_settings(SESSION_ENGINE=__name__):
            assert output("keys") == "page\n"
            assert "left out 2 session keys of 'default'" in note("keys")
        with override_settings(SESSION_ENGINE="no.such.engine"):
            assert "secret" in output("keys")

    @pytest.mark.filterwarnings("ignore:Cache key")
    def test_are_escaped_for_the_terminal(self, default):
        default.set("\x1b[31mred\n\udc80", 1)
        assert "'\\x1b[31mred\\n\\udc80'" in output("keys")
        assert printed("keys")[0]["key"] == "\x1b[31mred\n\udc80"

    @pytest.mark.parametrize("limit", ["-1", "many", "1.5"])
    def test_limit_is_a_number(self, limit):
        with pytest.raises(CommandError, match="--limit"):
            output("keys", f"--limit={limit}")

    def test_that_cannot_be_reversed_are_an_error(self):
        for arguments in (["keys"], ["delete", "--pattern", "*"]):
            with pytest.raises(CommandError, match="REVERSE_KEY_FUNCTION"):
                output(*arguments, "--cache", "unnamed")


class TestGet:
    def test_shows_the_value(self, default):
        default.set("key", [1, "two"], 1000)
        assert output("get", "key").splitlines() == [
            "key   key",
            "ttl   1000",
            "type  list",
            "[1, 'two']",
        ]
        assert printed("get", "key") == {
            "key": "key",
            "found": True,
            "ttl": 1000,
            "type": "list",
            "value": [1, "two"],
        }

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (None, {"value": None}),
            (dt.date(2020, 1, 2), {"value": "2020-01-02"}),
            ({"a": (1, 2)}, {"value": {"a": [1, 2]}}),
            ({(1, 2): 3}, {"repr": "{(1, 2): 3}"}),
            (float("nan"), {"repr": "nan"}),
            (b"bytes", {"repr": "b'bytes'"}),
            (Session(), {"repr": "<a session>"}),
        ],
        ids=repr,
    )
    def test_represents_other_values_in_json(self, default, value, expected):
        default.set("key", value)
        answer = printed("get", "key")
        assert {name: answer[name] for name in answer if name in ("value", "repr")} == expected
        assert answer["type"] == type(value).__name__

    def test_of_a_missing_key_fails_for_people_and_says_so_to_scripts(self):
        with pytest.raises(CommandError, match="key 'key' not found in"):
            output("get", "key")
        assert printed("get", "key") == {"key": "key", "found": False}

    def test_is_of_the_version_and_the_cache(self, default):
        default.set("key", "second", version=2)
        caches["pages"].set("key", "page")
        assert printed("get", "key", "--key-version", "2")["value"] == "second"
        assert printed("get", "key", "--cache", "pages")["value"] == "page"


class TestDelete:
    def test_deletes_and_counts(self, default):
        default.set_many({"a": 1, "b": 2, "c": 3})
        assert output("delete", "a", "missing") == "deleted 1 entry of 'default'\n"
        assert printed("delete", "b", "c") == {"deleted": 2}
        assert default.keys("*") == []

    def test_takes_patterns_with_an_option(self, default):
        default.set_many({"user:1": 1, "user:2": 2, "page:1": 3, "*": 4})
        assert printed("delete", "*") == {"deleted": 1}
        assert output("delete", "--pattern", "user:*", "none*") == "deleted 2 entries of 'default'\n"
        assert default.keys("*") == ["page:1"]

    def test_is_of_the_version(self, default):
        default.set("key", 1, version=2)
        assert printed("delete", "key") == {"deleted": 0}
        assert printed("delete", "key", "--key-version", "2") == {"deleted": 1}


class TestClear:
    def test_clears_one_cache_and_names_it(self, default):
        default.set_many({"a": 1, "b": 2})
        caches["pages"].set("page", 1)
        assert output("clear") == "cleared 2 entries of 'default'\n"
        assert default.keys("*") == []
        assert printed("clear", "--cache", "pages") == {"pages": {"cleared": 1}}

    def test_clears_several_or_all(self, default):
        for alias in ("default", "pages", "unnamed"):
            caches[alias].set("key", 1)
        assert printed("clear", "--cache", "pages", "--cache", "default") == {
            "pages": {"cleared": 1},
            "default": {"cleared": 1},
        }
        assert output("clear", "--all").splitlines() == [
            "cleared 0 entries of 'default'",
            "cleared 0 entries of 'pages'",
            "cleared 1 entry of 'unnamed'",
        ]

    def test_needs_names_or_all(self):
        with pytest.raises(CommandError, match="not allowed with"):
            output("clear", "--all", "--cache", "pages")

    def test_of_all_without_any_is_refused(self):
        with (
            override_settings(CACHES={"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}),
            pytest.raises(CommandError, match="CACHES has no nearcache cache"),
        ):
            output("clear", "--all")


class TestCache:
    @actions
    def test_that_is_not_ours_is_refused_with_a_list_of_ours(self, arguments):
        for alias in ("django", "nowhere", "unheard of"):
            with pytest.raises(CommandError, match=rf"no nearcache cache '{alias}'.*default, pages, unnamed"):
                output(*arguments, "--cache", alias)

    def test_that_are_several_and_not_ours_are_all_named(self):
        with pytest.raises(CommandError, match="no nearcache caches 'a', 'b' and 'c'"):
            output("clear", *(f"--cache={alias}" for alias in ("a", "pages", "b", "c")))

    @actions
    def test_default_is_refused_if_it_is_not_ours(self, arguments):
        only = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
        with (
            override_settings(CACHES=only),
            pytest.raises(CommandError, match=r"no nearcache cache 'default'; expected one of: none"),
        ):
            output(*arguments)

    @pytest.mark.parametrize("arguments", ACTIONS[:-1], ids=lambda arguments: arguments[0])
    def test_note_tells_that_other_processes_have_caches_of_their_own(self, default, arguments):
        default.set("key", 1)
        text = note(*arguments, "--cache", "default")
        assert text.startswith("Note: 'default' is a LocalCache: each process has its own.")
        assert f"the one of its own process (pid {os.getpid()})" in text
        assert "cannot see or change those of other processes" in text

    def test_note_is_in_the_plural_for_several_caches(self):
        text = note("stats")
        assert text.startswith("Note: 'default', 'pages' and 'unnamed' are LocalCaches: each process has")
        assert "those of its own process" in text


class TestCommandLine:
    @pytest.mark.parametrize("arguments", [[], ["nonsense"], ["get"], ["delete"], ["keys", "a", "b"]])
    def test_bad_arguments_are_refused(self, arguments):
        with pytest.raises(CommandError, match="Error:"):
            output(*arguments)

    def test_works_as_a_program(self):
        program = """
            from django.conf import settings
            settings.configure(
                CACHES={"default": {"BACKEND": "nearcache.django.LocalCache"}},
                INSTALLED_APPS=["nearcache.django"],
            )
            from django.core.management import execute_from_command_line
            import sys
            sys.stderr = sys.stdout
            execute_from_command_line(["manage.py", "nearcache", "clear", "--json"])
        """
        lines = run("-c", "\n".join(line.strip() for line in program.splitlines())).splitlines()
        assert lines[0].startswith("Note: 'default' is a LocalCache")
        assert json.loads("".join(lines[1:])) == {"default": {"cleared": 0}}

    @pytest.mark.skipif(os.name != "posix", reason="a shell's pipe")
    def test_ends_quietly_if_the_pipe_is_closed(self):
        program = """
            import os, sys
            from django.conf import settings
            settings.configure(
                CACHES={"default": {"BACKEND": "nearcache.django.LocalCache"}},
                INSTALLED_APPS=["nearcache.django"],
            )
            import django
            django.setup()
            from django.core.cache import cache
            cache.set_many({f"key-{number}": number for number in range(int(sys.argv[1]))})
            read, write = os.pipe()
            os.close(read)
            os.dup2(write, 1)
            import io
            from django.core.management import call_command
            call_command("nearcache", "keys", stderr=io.StringIO())
        """
        for keys in ("1", "10000"):
            run("-c", "\n".join(line.strip() for line in program.splitlines()), keys)
