"""The system checks of SharedCaches without `LOCATION`, and the warnings logged when one is opened."""

import logging
import os
import sys
import textwrap

import pytest
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from nearcache.django import LocalCache, SharedCache, location
from nearcache.django.checks import check_locations
from support.isolated import start

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="SharedCache is for Linux")

SHARED = "nearcache.django.SharedCache"
STABLE = "SECRET_KEY = 'always the same, and long enough for the checks of deployment: 0123456789'"
RANDOM = """
from django.core.management.utils import get_random_secret_key
SECRET_KEY = get_random_secret_key()
"""


class Subclass(SharedCache):
    """Somebody's own."""


@pytest.fixture(autouse=True)
def memory(tmp_path, monkeypatch):
    monkeypatch.setattr(location, "SHARED_MEMORY", tmp_path)
    return tmp_path


def shared(**params):
    return {"BACKEND": SHARED, "OPTIONS": {"MAX_MEMORY": "1MB"}, **params}


def messages(**configured):
    with override_settings(CACHES=configured):
        return check_locations()


class TestOneFile:
    def test_is_a_warning_if_no_cache_has_a_location(self):
        subclass = shared(BACKEND=f"{__name__}.Subclass", LOCATION="")
        (message,) = messages(default=shared(), renditions=subclass, sessions=shared())
        assert isinstance(message, checks.Warning)
        assert message.id == "nearcache.W010"
        assert message.msg.startswith(
            "CACHES['default'], CACHES['renditions'] and CACHES['sessions'] are SharedCaches without a "
        )
        assert "clearing one clears the others" in message.msg
        assert "Give each a LOCATION" in message.hint

    def test_is_fine_with_an_explicit_location(self):
        assert messages(default=shared(LOCATION="one"), renditions=shared(LOCATION="one")) == []

    def test_is_fine_for_a_single_cache(self):
        local = {"BACKEND": "nearcache.django.LocalCache"}
        assert messages(default=shared(), renditions=shared(LOCATION="own"), local=local, more=local) == []
        assert messages(default={"BACKEND": "no.such.Backend"}, local=local) == []

    def test_is_registered(self):
        assert check_locations in checks.registry.registry.registered_checks

    def test_of_two_sizes_is_an_error_with_advice(self):
        SharedCache("", shared())
        with pytest.raises(ImproperlyConfigured, match="give each a LOCATION of its own"):
            SharedCache("", {"OPTIONS": {"MAX_MEMORY": "2MB"}})

    def test_of_two_sizes_in_two_processes_is_logged_with_advice(self, memory, caplog):
        program = """
            import sys
            from nearcache.django import SharedCache
            SharedCache(sys.argv[1], {"OPTIONS": {"MAX_MEMORY": "2MB"}})
        """
        assert start("-c", textwrap.dedent(program), str(memory / "cache"))[0].returncode == 0
        with caplog.at_level(logging.WARNING, "nearcache"):
            SharedCache(str(memory / "cache"), shared())
        (record,) = caplog.records
        assert "it had 2097152 bytes, and MAX_MEMORY is 1048576" in record.getMessage()
        assert "give each a LOCATION of its own" in record.getMessage()


class TestDefaultName:
    def test_contains_the_settings_module(self):
        with override_settings(SETTINGS_MODULE="mysite.settings"):
            assert location.default_name().startswith("default-mysite.settings-")
        with override_settings(SETTINGS_MODULE="müsite/" + "x" * 200):
            name = location.default_name()
        assert name.startswith("default-m_site_xxx")
        assert len(name) < 128
        assert location.path_of(name).name == name

    def test_depends_on_module_and_key(self):
        names = set()
        for module in ("a.settings", "b.settings", ""):
            for key in ("one", "two"):
                with override_settings(SETTINGS_MODULE=module, SECRET_KEY=key):
                    names.add(location.default_name())
                    assert location.default_name() in names
        assert len(names) == 6

    def test_of_another_key_is_found_beside_it(self, memory):
        def opened(module, key):
            with override_settings(SETTINGS_MODULE=module, SECRET_KEY=key):
                return SharedCache("", shared()).path

        opened("b.settings", "one")
        opened("a", "one")
        first = opened("a.settings", "one")
        assert location.files_of_other_keys(first) == []
        others = sorted([opened("a.settings", "two"), opened("a.settings", "three")])
        assert location.files_of_other_keys(first) == others

    def test_of_another_key_is_logged_when_a_file_is_created(self, caplog):
        with caplog.at_level(logging.WARNING, "nearcache"):
            for number, key in enumerate(("one", "two", "three")):
                with override_settings(SETTINGS_MODULE="mysite.settings", SECRET_KEY=key):
                    SharedCache("", shared())
                    SharedCache("", shared())  # it is there by now
                assert len(caplog.records) == number
            SharedCache("named", shared())
            LocalCache("", {})
        one, two = (record.getMessage() for record in caplog.records)
        assert "beside 1 file of the same settings module with another SECRET_KEY" in one
        assert "beside 2 files of" in two
        assert "set LOCATION" in two

    def test_without_a_settings_module_is_not_compared(self, caplog):
        with caplog.at_level(logging.WARNING, "nearcache"):
            for key in ("one", "two"):
                with override_settings(SETTINGS_MODULE="", SECRET_KEY=key):
                    SharedCache("", shared())
        assert not caplog.records


class TestRandomKey:
    """A second process is asked for its key, so each test has a project and runs its ``manage.py check``."""

    CACHES = """
CACHES = {"default": {"BACKEND": "nearcache.django.SharedCache", "OPTIONS": {"MAX_MEMORY": "1MB"}, %s}}
INSTALLED_APPS = ["nearcache.django"]
import os
from pathlib import Path
from nearcache.django import location
location.SHARED_MEMORY = Path(os.environ["TEST_MEMORY"])
"""

    def check(self, tmp_path, monkeypatch, key, params=""):
        """Run ``manage.py check`` in a project with this key; return what it reports."""
        project = tmp_path / "project"
        project.mkdir(exist_ok=True)
        (project / "base.py").write_text(key)
        (project / "project_settings.py").write_text("from base import *\n" + self.CACHES % params)
        program = f"""
            import os, sys
            sys.path.insert(0, {str(project)!r})
            os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project_settings")
            from django.core.management import execute_from_command_line
            execute_from_command_line(["manage.py", "check"])
        """
        monkeypatch.setenv("TEST_MEMORY", str(tmp_path))
        monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
        process, output, errors = start("-c", textwrap.dedent(program))
        assert process.returncode == 0, errors
        return output + errors

    def test_is_a_warning(self, tmp_path, monkeypatch):
        text = self.check(tmp_path, monkeypatch, RANDOM)
        assert "(nearcache.W011) CACHES['default'] is a SharedCache without a LOCATION" in text
        assert "imported 'project_settings' got a different one" in text
        assert "HINT: Set LOCATION to a name" in text

    def test_is_fine_with_a_location(self, tmp_path, monkeypatch):
        assert "no issues" in self.check(tmp_path, monkeypatch, RANDOM, "'LOCATION': 'name'")

    def test_is_no_warning_if_the_key_is_fixed(self, tmp_path, monkeypatch):
        assert "no issues" in self.check(tmp_path, monkeypatch, STABLE)

    def test_is_fine_as_a_fallback_for_the_environment(self, tmp_path, monkeypatch):
        key = RANDOM + "import os\nSECRET_KEY = os.environ.get('PROJECT_KEY') or SECRET_KEY\n"
        assert "nearcache.W011" in self.check(tmp_path, monkeypatch, key)
        monkeypatch.setenv("PROJECT_KEY", "one that stays")
        assert "no issues" in self.check(tmp_path, monkeypatch, key)

    def test_is_not_checked_if_the_file_exists(self, tmp_path, monkeypatch):
        counting = STABLE + f"\nopen({str(tmp_path / 'imports')!r}, 'a').write('.')\n"
        self.check(tmp_path, monkeypatch, counting)
        assert (tmp_path / "imports").read_text() == ".."
        self.check(tmp_path, monkeypatch, counting)
        assert (tmp_path / "imports").read_text() == "..."

    def test_of_settings_that_print_is_found(self, tmp_path, monkeypatch):
        assert "no issues" in self.check(tmp_path, monkeypatch, STABLE + "\nprint('hello')\n")

    def test_of_settings_that_fail_a_second_time_is_ignored(self, tmp_path, monkeypatch):
        once = STABLE + f"\nopen({str(tmp_path / 'once')!r}, 'x').close()\n"
        assert "no issues" in self.check(tmp_path, monkeypatch, once)

    def test_of_settings_without_a_module_is_ignored(self):
        assert os.environ.get("DJANGO_SETTINGS_MODULE") is None
        with override_settings(SECRET_KEY=os.urandom(8).hex()):
            assert messages(default=shared()) == []
