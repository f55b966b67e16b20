"""The system checks that come with ``nearcache.django`` in INSTALLED_APPS."""

import textwrap

import pytest
from django.conf import settings
from django.core import checks
from django.core.cache.backends.base import BaseCache
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test import override_settings

from nearcache.django import LocalCache, location
from nearcache.django.checks import check_responses, check_sessions
from support.isolated import run, start

OURS = "nearcache.django.LocalCache"
LOCMEM = "django.core.cache.backends.locmem.LocMemCache"
DUMMY = "django.core.cache.backends.dummy.DummyCache"
CACHE_SESSIONS = "django.contrib.sessions.backends.cache"
CACHED_DB_SESSIONS = "django.contrib.sessions.backends.cached_db"
SESSIONS = {CACHE_SESSIONS: "nearcache.W001", CACHED_DB_SESSIONS: "nearcache.W002"}


class Subclass(LocalCache):
    """Somebody's own."""


class Other(BaseCache):
    """Nothing of ours."""


TRACED = "nearcache.django.traced.LocalCache"
SUBCLASS = f"{__name__}.Subclass"


def messages(**changed):
    """Run the checks as Django does, with these settings."""
    with override_settings(**changed):
        return [message for message in checks.run_checks(tags=[checks.Tags.caches]) if is_ours(message)]


def is_ours(message):
    return message.id.startswith("nearcache.")


def caches(backend=OURS, **params):
    return {"default": {"BACKEND": backend, **params}}


class TestRegistration:
    def test_app_registers_the_check(self):
        assert "nearcache.django" in settings.INSTALLED_APPS
        assert check_sessions in checks.registry.registry.registered_checks

    def test_good_settings_have_no_messages(self):
        assert messages() == []
        assert messages(CACHES=caches(OPTIONS={"MAX_ENTRIES": 10}, TIMEOUT=None)) == []


class TestSessions:
    @pytest.mark.parametrize(("engine", "identity"), SESSIONS.items())
    @pytest.mark.parametrize("backend", [OURS, SUBCLASS, TRACED])
    def test_sessions_in_a_local_cache_are_a_warning(self, engine, identity, backend):
        (message,) = messages(SESSION_ENGINE=engine, CACHES=caches(backend))
        assert isinstance(message, checks.Warning)
        assert message.id == identity
        assert "CACHES['default']" in message.msg
        assert "process" in message.msg
        # It says what to do, and how to have peace.
        assert "django.contrib.sessions.backends.db" in message.hint
        assert "SILENCED_SYSTEM_CHECKS" in message.hint
        assert identity in message.hint

    @pytest.mark.parametrize(("engine", "identity"), SESSIONS.items())
    def test_warning_can_be_silenced(self, engine, identity):
        (message,) = messages(SESSION_ENGINE=engine, CACHES=caches(), SILENCED_SYSTEM_CHECKS=[identity])
        with override_settings(SILENCED_SYSTEM_CHECKS=[identity]):
            assert message.is_silenced()
        with override_settings(SILENCED_SYSTEM_CHECKS=["nearcache.W009"]):
            assert not message.is_silenced()

    @pytest.mark.parametrize(
        "engine",
        [
            "django.contrib.sessions.backends.db",
            "django.contrib.sessions.backends.file",
            "django.contrib.sessions.backends.signed_cookies",
            "somebody.else",
        ],
    )
    def test_sessions_elsewhere_are_no_warning(self, engine):
        assert messages(SESSION_ENGINE=engine, CACHES=caches()) == []

    @pytest.mark.parametrize("engine", SESSIONS)
    @pytest.mark.parametrize("backend", [LOCMEM, DUMMY])
    def test_other_backends_are_no_warning(self, engine, backend):
        assert messages(SESSION_ENGINE=engine, CACHES=caches(backend)) == []

    @pytest.mark.parametrize("engine", SESSIONS)
    def test_only_the_cache_of_the_sessions_matters(self, engine):
        both = {"default": {"BACKEND": OURS}, "sessions": {"BACKEND": LOCMEM}}
        assert messages(SESSION_ENGINE=engine, SESSION_CACHE_ALIAS="sessions", CACHES=both) == []
        both = {"default": {"BACKEND": LOCMEM}, "sessions": {"BACKEND": OURS}}
        (message,) = messages(SESSION_ENGINE=engine, SESSION_CACHE_ALIAS="sessions", CACHES=both)
        assert "CACHES['sessions']" in message.msg

    @pytest.mark.parametrize("engine", SESSIONS)
    @pytest.mark.parametrize("backend", [f"{__name__}.Other", "no.such.Backend", "nonsense", ""])
    def test_bad_backend_is_left_to_django(self, engine, backend):
        with override_settings(SESSION_ENGINE=engine, CACHES=caches(backend)):
            assert check_sessions() == []

    @pytest.mark.parametrize("engine", SESSIONS)
    def test_unknown_alias_is_left_to_django(self, engine):
        assert messages(SESSION_ENGINE=engine, SESSION_CACHE_ALIAS="none", CACHES=caches()) == []


class TestCheckCommand:
    def test_call_reports_messages(self, capsys):
        with override_settings(SESSION_ENGINE=CACHE_SESSIONS):
            call_command("check", tags=["caches"])
            assert "nearcache.W001" in capsys.readouterr().err
            with pytest.raises(SystemCheckError, match=r"nearcache\.W001"):
                call_command("check", tags=["caches"], fail_level="WARNING")

    def test_call_does_not_report_silenced_messages(self, capsys):
        with override_settings(SESSION_ENGINE=CACHE_SESSIONS, SILENCED_SYSTEM_CHECKS=["nearcache.W001"]):
            call_command("check", tags=["caches"], fail_level="WARNING")
        assert "nearcache" not in "".join(capsys.readouterr()).replace("nearcache.django", "")

    @staticmethod
    def program(**changed):
        """Return the text of a manage.py with these settings."""
        changed = {"SECRET_KEY": "tests", "CACHES": caches(), "INSTALLED_APPS": [], **changed}
        return textwrap.dedent(f"""
            import django
            from django.conf import settings
            from django.core.management import execute_from_command_line
            settings.configure(**{changed!r})
            execute_from_command_line(["manage.py", "check"])
        """)

    def test_good_site_has_no_issues(self):
        output = run("-c", self.program(INSTALLED_APPS=["nearcache.django"]))
        assert "no issues" in output

    def test_warnings_show(self):
        changed = {"INSTALLED_APPS": ["nearcache.django"], "SESSION_ENGINE": CACHE_SESSIONS}
        process, output, errors = start("-c", self.program(**changed))
        assert process.returncode == 0
        assert "(nearcache.W001)" in errors + output
        assert "HINT" in errors + output

    def test_without_the_app_nothing_is_checked(self):
        output = run("-c", self.program(SESSION_ENGINE=CACHE_SESSIONS))
        assert "no issues" in output
        assert "nearcache" not in output

    @pytest.mark.parametrize("apps", [[], ["nearcache.django"]])
    def test_bad_option_fails_with_or_without_the_app(self, apps):
        # Django's own check makes every cache of CACHES.
        changed = {"INSTALLED_APPS": apps, "CACHES": caches(OPTIONS={"MAX_ENTRIS": 3})}
        process, _, errors = start("-c", self.program(**changed))
        assert process.returncode == 1
        assert "Did you mean 'MAX_ENTRIES'?" in errors


class TestSharedCache:
    SHARED = "nearcache.django.SharedCache"

    @pytest.fixture(autouse=True)
    def memory(self, tmp_path, monkeypatch):
        monkeypatch.setattr(location, "SHARED_MEMORY", tmp_path)

    def test_may_have_sessions(self):
        for engine in SESSIONS:
            assert messages(SESSION_ENGINE=engine, CACHES=caches(self.SHARED)) == []

    def test_is_recommended_by_the_checks_of_sessions(self):
        (message,) = messages(SESSION_ENGINE=CACHE_SESSIONS, CACHES=caches())
        assert "nearcache.django.SharedCache" in message.hint

    @pytest.mark.parametrize(
        ("params", "named"),
        [
            ({"OPTIONS": {"MAX_ENTRIES": 10}}, "MAX_ENTRIES has no effect"),
            ({"OPTIONS": {"CULL_FREQUENCY": 3, "MAX_MEMORY": "1MB"}}, "CULL_FREQUENCY has no effect"),
            ({"OPTIONS": {"MAX_ENTRIES": 1, "CULL_FREQUENCY": 3}}, "MAX_ENTRIES and CULL_FREQUENCY have no"),
            ({"max_entries": 10}, "MAX_ENTRIES has no effect"),
        ],
        ids=repr,
    )
    def test_is_not_bounded_by_entries(self, params, named):
        (message,) = messages(CACHES=caches(self.SHARED, **params))
        assert message.id == "nearcache.W003"
        assert "CACHES['default'] is a SharedCache" in message.msg
        assert named in message.msg
        assert "MAX_MEMORY" in message.hint
        assert message.hint.startswith("Remove them," if " and " in named else "Remove it,")

    def test_without_such_options_has_no_messages(self):
        assert messages(CACHES=caches(self.SHARED, OPTIONS={"MAX_MEMORY": "2MB"}, TIMEOUT=5)) == []


class TestResponses:
    UPDATE = "django.middleware.cache.UpdateCacheMiddleware"

    def found(self, middleware, backend="nearcache.django.SharedCache", **options):
        """Return the ids of the messages about a cache for responses."""
        every = {**caches(), "pages": {"BACKEND": backend, "LOCATION": "checked-pages", "OPTIONS": options}}
        changed = {"MIDDLEWARE": [middleware], "CACHE_MIDDLEWARE_ALIAS": "pages", "CACHES": every}
        with override_settings(**changed):
            return [message.id for message in check_responses()]

    @pytest.mark.parametrize("package", ["django.middleware.cache", "nearcache.django.middleware"])
    @pytest.mark.parametrize("name", ["UpdateCacheMiddleware", "CacheMiddleware"])
    def test_cache_that_refuses_responses_is_found(self, package, name):
        assert self.found(f"{package}.{name}", PICKLE=False) == ["nearcache.W016"]

    def test_silent_with_pickle(self):
        assert self.found(self.UPDATE) == self.found(self.UPDATE, PICKLE=True) == []

    def test_silent_without_the_middleware(self):
        assert self.found("django.middleware.common.CommonMiddleware", PICKLE=False) == []

    def test_silent_for_another_backend(self):
        assert self.found(self.UPDATE, LOCMEM) == []

    @pytest.mark.parametrize(
        ("update", "fetch", "expected"),
        [
            ("django.middleware.cache", "nearcache.django.middleware", ["nearcache.W017"]),
            ("nearcache.django.middleware", "nearcache.django.middleware", []),
            ("django.middleware.cache", "django.middleware.cache", []),
        ],
    )
    def test_a_mixed_pair_is_found(self, update, fetch, expected):
        pair = [f"{update}.UpdateCacheMiddleware", f"{fetch}.FetchFromCacheMiddleware"]
        assert [message.id for message in messages(MIDDLEWARE=pair)] == expected
