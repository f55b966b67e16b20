"""The settings, and their errors."""

import pytest
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from nearcache.django import LocalCache, TieredCache
from tiered.remote_alias.remotes import LOCMEM, TIERED


def refused(params=None, *, location="", **options):
    """Return the message of the error that these settings raise."""
    settings = {"remote": {"BACKEND": LOCMEM}, **(params or {})}
    with override_settings(CACHES={"default": {"BACKEND": LOCMEM}, **settings}):
        with pytest.raises(ImproperlyConfigured) as raised:
            TieredCache(location, {"OPTIONS": {"REMOTE": "remote", **options}})
        return str(raised.value)


class TestSettings:
    def test_unknown_alias(self):
        message = refused(REMOTE="nowhere")
        assert message == (
            "nearcache: OPTIONS[\"REMOTE\"] is 'nowhere'; expected an alias of CACHES, one of: 'default', "
            "'remote'."
        )

    def test_circle(self):
        def tier(remote):
            return {"BACKEND": TIERED, "OPTIONS": {"REMOTE": remote}}

        assert "leads back to 'remote'" in refused({"remote": tier("remote")})
        message = refused({"remote": tier("second"), "second": tier("remote")})
        assert "OPTIONS[\"REMOTE\"] is 'remote', which leads back to 'remote'" in message

    def test_location_as_well(self):
        message = refused(location="redis://127.0.0.1")
        assert "LOCATION is set, but OPTIONS[\"REMOTE\"] is 'remote'" in message

    @pytest.mark.parametrize(
        "name", ["DB", "TLS_CA", "CLEAR", "MAX_STALENESS", "NEAR_EXCLUDE", "PASSWORD", "MAX_ENTRIES"]
    )
    def test_options_of_a_server(self, name):
        message = refused(**{name: 1})
        assert f"unknown name {name!r}" in message
        assert 'TieredCache with OPTIONS["REMOTE"] accepts REMOTE, NEAR, NEAR_TTL' in message

    @pytest.mark.parametrize(
        ("name", "value"),
        [("KEY_PREFIX", "x"), ("VERSION", 2), ("TIMEOUT", None), ("timeout", 5), ("KEY_FUNCTION", "x.y")],
    )
    def test_settings_of_the_remote(self, name, value):
        expected = rf"{name.upper()} .* in CACHES\['remote'\]"
        with (
            override_settings(CACHES={"default": {"BACKEND": LOCMEM}, "remote": {"BACKEND": LOCMEM}}),
            pytest.raises(ImproperlyConfigured, match=expected),
        ):
            TieredCache("", {name: value, "OPTIONS": {"REMOTE": "remote"}})

    @pytest.mark.parametrize(
        ("name", "value", "expected"),
        [
            ("NEAR", "remote", "'local', 'shared' or None"),
            ("NEAR_TTL", None, "a number of seconds"),
            ("NEAR_TTL", 0, "a number of seconds"),
            ("MAX_MEMORY", None, "the size of the near tier"),
            ("MAX_MEMORY", "x", "a size such as"),
            ("MAX_PROCESSES", 0, "a whole number"),
            ("ON_ERROR", "stale", "'raise' or 'miss'"),
            ("ON_ERROR", None, "'raise' or 'miss'"),
        ],
    )
    def test_wrong_values(self, name, value, expected):
        message = refused(**{name: value})
        assert f'OPTIONS["{name}"] is {value!r}; expected ' in message
        assert expected in message

    @pytest.mark.parametrize("value", [5, "", b"x"])
    def test_wrong_location_of_the_shared_file(self, value):
        assert "a name or an absolute path" in refused(NEAR="shared", NEAR_LOCATION=value)

    def test_two_remotes_cannot_share_a_file(self, configure, shared_options):
        configure(**shared_options)
        settings = {**caches.settings, "second": {"BACKEND": LOCMEM, "LOCATION": "second"}}
        with override_settings(CACHES=settings):
            caches["default"].set("key", 1)
            with pytest.raises(ImproperlyConfigured, match="copies of another REMOTE"):
                TieredCache("", {"OPTIONS": {"REMOTE": "second", **shared_options}})

    def test_remote_beside_options(self):
        with pytest.raises(ImproperlyConfigured, match="REMOTE is beside OPTIONS"):
            LocalCache("", {"REMOTE": "default"})
