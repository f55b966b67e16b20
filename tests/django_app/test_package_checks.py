"""The system checks of packages that need one cache for all processes.

The packages are stubs here, since the checks read settings only; tests/packages has the real ones.
"""

import pytest
from django.core import checks, mail
from django.core.cache import cache as default_cache
from django.core.cache import caches
from django.test import override_settings

import nearcache.django
from nearcache.django import LocalCache
from nearcache.django.checks import check_packages, check_sessions
from nearcache.django.checks.packages import USES

OURS = "nearcache.django.LocalCache"
SHARED = "nearcache.django.SharedCache"
LOCMEM = "django.core.cache.backends.locmem.LocMemCache"

AXES = {"INSTALLED_APPS": ["axes"], "AXES_HANDLER": "axes.handlers.cache.AxesCacheHandler"}
CONSTANCE = {
    "INSTALLED_APPS": ["constance"],
    "CONSTANCE_BACKEND": "constance.backends.database.DatabaseBackend",
    "CONSTANCE_DATABASE_CACHE_BACKEND": "default",
}
RATELIMIT = {"INSTALLED_APPS": ["django_ratelimit"]}
CACHALOT = {"INSTALLED_APPS": ["cachalot"]}
THROTTLES = {"REST_FRAMEWORK": {"DEFAULT_THROTTLE_CLASSES": ["rest_framework.throttling.AnonRateThrottle"]}}
ALLAUTH = {"INSTALLED_APPS": ["allauth.account"]}

IN_USE = {
    "nearcache.W004": AXES,
    "nearcache.W005": CONSTANCE,
    "nearcache.W006": RATELIMIT,
    "nearcache.W007": CACHALOT,
    "nearcache.W008": THROTTLES,
    "nearcache.W009": ALLAUTH,
}
NAMES_THE_CACHE = {
    "nearcache.W004": "AXES_CACHE",
    "nearcache.W005": "CONSTANCE_DATABASE_CACHE_BACKEND",
    "nearcache.W006": "RATELIMIT_USE_CACHE",
    "nearcache.W007": "CACHALOT_CACHE",
}


class Subclass(LocalCache):
    """Somebody's own."""


class OnDefault:
    cache = default_cache


class OnOurDefault:
    cache = nearcache.django.cache


class Elsewhere:
    """A throttle that counts in a database, say."""


@pytest.fixture(autouse=True)
def stubs(tmp_path, monkeypatch):
    """Put packages without content on the path, under the real names."""
    names = ["axes", "constance", "django_ratelimit", "cachalot", "allauth", "allauth/account", "allauth/mfa"]
    for name in [*names, "allauth/idp", "allauth/idp/oidc"]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)


def messages(default=OURS, other=LOCMEM, **changed):
    """Return what the check says with these settings and these two backends."""
    backends = {"default": {"BACKEND": default}, "other": {"BACKEND": other, "LOCATION": "other"}}
    with override_settings(CACHES=backends, **changed):
        return check_packages()


def identities(*args, **changed):
    return [message.id for message in messages(*args, **changed)]


class TestLocalCache:
    def test_is_checked_for_every_package(self):
        assert IN_USE.keys() == {use.identity for use in USES}

    @pytest.mark.parametrize("identity", IN_USE)
    @pytest.mark.parametrize("backend", [OURS, f"{__name__}.Subclass"])
    def test_used_by_a_package_is_a_warning(self, identity, backend):
        (message,) = messages(backend, **IN_USE[identity])
        assert isinstance(message, checks.Warning)
        assert message.id == identity
        assert "CACHES['default']" in message.msg
        assert "process has its own" in message.msg
        assert "nearcache.django.SharedCache" in message.hint
        assert f"add '{identity}' to SILENCED_SYSTEM_CHECKS" in message.hint

    @pytest.mark.parametrize(("identity", "setting"), NAMES_THE_CACHE.items())
    def test_is_that_of_the_package_s_setting(self, identity, setting):
        changed = {**IN_USE[identity], setting: "other"}
        assert messages(OURS, LOCMEM, **changed) == []
        (message,) = messages(LOCMEM, OURS, **changed)
        assert message.id == identity
        assert "CACHES['other']" in message.msg
        assert setting in message.hint

    def test_is_one_warning_for_each_package(self):
        changed = {key: value for settings in IN_USE.values() for key, value in settings.items()}
        changed["INSTALLED_APPS"] = [app for x in IN_USE.values() for app in x.get("INSTALLED_APPS", [])]
        assert identities(**changed) == list(IN_USE)

    def test_is_found_when_django_runs_the_checks(self):
        with override_settings(CACHES={"default": {"BACKEND": OURS}}, **THROTTLES):
            found = checks.run_checks(tags=[checks.Tags.caches])
        assert "nearcache.W008" in [message.id for message in found]


class TestSilence:
    @pytest.mark.parametrize("identity", IN_USE)
    @pytest.mark.parametrize("backend", [SHARED, LOCMEM, "no.such.Backend", ""])
    def test_other_backends(self, identity, backend):
        assert messages(backend, **IN_USE[identity]) == []

    def test_without_any_of_the_packages(self):
        assert messages() == []

    @pytest.mark.parametrize(("identity", "setting"), NAMES_THE_CACHE.items())
    def test_unknown_alias_is_left_to_django(self, identity, setting):
        assert messages(**{**IN_USE[identity], setting: "none"}) == []

    @pytest.mark.parametrize(
        "changed",
        [
            {**AXES, "AXES_ENABLED": False},
            {**AXES, "AXES_HANDLER": "axes.handlers.database.AxesDatabaseHandler"},
            {"INSTALLED_APPS": ["axes"]},
            {**AXES, "INSTALLED_APPS": []},
            {**CONSTANCE, "CONSTANCE_DATABASE_CACHE_BACKEND": None},
            {**CONSTANCE, "CONSTANCE_BACKEND": "constance.backends.redisd.CachingRedisBackend"},
            {**CONSTANCE, "INSTALLED_APPS": []},
            {"INSTALLED_APPS": ["constance"], "CONSTANCE_DATABASE_CACHE_BACKEND": "default"},
            {**RATELIMIT, "RATELIMIT_ENABLE": False},
            {**CACHALOT, "CACHALOT_ENABLED": False},
            {"CACHALOT_CACHE": "default"},
            {"REST_FRAMEWORK": {}},
            {"REST_FRAMEWORK": {"DEFAULT_THROTTLE_RATES": {"anon": None}}},
            {**ALLAUTH, "ACCOUNT_RATE_LIMITS": False},
            {"ACCOUNT_RATE_LIMITS": {"login": "30/m/ip"}},
        ],
        ids=repr,
    )
    def test_package_that_is_not_in_use(self, changed):
        assert messages(**changed) == []

    @pytest.mark.parametrize("identity", IN_USE)
    def test_under_debug(self, identity):
        assert messages(DEBUG=True, **IN_USE[identity]) == []

    @pytest.mark.parametrize("identity", IN_USE)
    def test_in_a_test_run(self, identity, monkeypatch):
        monkeypatch.setattr(mail, "outbox", [], raising=False)
        assert messages(**IN_USE[identity]) == []

    @pytest.mark.parametrize("engine", ["cache", "cached_db"])
    def test_checks_of_sessions_too(self, engine, monkeypatch):
        engine = f"django.contrib.sessions.backends.{engine}"
        with override_settings(SESSION_ENGINE=engine, CACHES={"default": {"BACKEND": OURS}}):
            assert len(check_sessions()) == 1
            with override_settings(DEBUG=True):
                assert check_sessions() == []
            monkeypatch.setattr(mail, "outbox", [], raising=False)
            assert check_sessions() == []


class TestInUse:
    @pytest.mark.parametrize(
        ("changed", "identity"),
        [
            # A backend of the site's own, which may be a subclass of the database's.
            ({**CONSTANCE, "CONSTANCE_BACKEND": "shop.Backend"}, "nearcache.W005"),
            # The decorators work without the app.
            ({"RATELIMIT_USE_CACHE": "default"}, "nearcache.W006"),
            ({"REST_FRAMEWORK": {"DEFAULT_THROTTLE_RATES": {"burst": "3/min"}}}, "nearcache.W008"),
            ({"REST_FRAMEWORK": {"DEFAULT_THROTTLE_CLASSES": f"{__name__}.OnDefault"}}, "nearcache.W008"),
            ({**ALLAUTH, "ACCOUNT_RATE_LIMITS": {}}, "nearcache.W009"),
            (
                {"INSTALLED_APPS": ["allauth.account", "allauth.mfa"], "ACCOUNT_RATE_LIMITS": False},
                "nearcache.W009",
            ),
            ({"INSTALLED_APPS": ["allauth.idp.oidc"]}, "nearcache.W009"),
        ],
        ids=repr,
    )
    def test_settings_that_put_a_package_to_use(self, changed, identity):
        assert identities(**changed) == [identity]


class TestThrottles:
    """A throttle class has a cache in its attribute `cache`, the default one unless it is set."""

    def aliases(self, *classes, **backends):
        found = messages(REST_FRAMEWORK={"DEFAULT_THROTTLE_CLASSES": classes}, **backends)
        return [alias for alias in ("default", "other") for message in found if f"[{alias!r}]" in message.msg]

    @pytest.mark.parametrize("name", ["OnDefault", "OnOurDefault"])
    def test_class_with_django_s_or_our_proxy_uses_the_default_cache(self, name):
        assert self.aliases(f"{__name__}.{name}") == ["default"]
        assert self.aliases(f"{__name__}.{name}", default=LOCMEM, other=OURS) == []

    def test_class_with_a_cache_of_its_own_uses_that(self, monkeypatch):
        monkeypatch.setattr(Elsewhere, "cache", None, raising=False)
        backends = {"default": {"BACKEND": LOCMEM}, "other": {"BACKEND": OURS, "LOCATION": "other"}}
        configured = {"DEFAULT_THROTTLE_CLASSES": [f"{__name__}.Elsewhere"]}
        with override_settings(CACHES=backends, REST_FRAMEWORK=configured):
            Elsewhere.cache = caches["default"]
            assert check_packages() == []
            Elsewhere.cache = caches["other"]
            (message,) = check_packages()
        assert "CACHES['other']" in message.msg

    def test_class_without_a_cache_uses_none(self):
        assert self.aliases(f"{__name__}.Elsewhere") == []

    @pytest.mark.parametrize("path", ["no.such.Throttle", "nonsense", ""])
    def test_class_that_cannot_be_imported_is_left_to_the_package(self, path):
        assert self.aliases(path) == []

    def test_alias_is_reported_once(self):
        rest = "rest_framework.throttling"
        assert self.aliases(f"{rest}.AnonRateThrottle", f"{rest}.UserRateThrottle") == ["default"]
