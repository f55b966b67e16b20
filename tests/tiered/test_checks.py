"""The system checks of TieredCaches and their servers."""

import socket
from importlib import import_module

import pytest
from django.core import checks
from django.test import override_settings

from django_app.test_package_checks import IN_USE
from nearcache.django import TieredCache
from nearcache.django.checks import CHECKS, DEPLOY_CHECKS, check_servers
from nearcache.django.checks.sessions import KEY_PREFIXES
from nearcache.django.errors import RemoteResponseError
from support.redis_servers.standalone import Server

TIERED = "nearcache.django.TieredCache"
REDIS = "django.core.cache.backends.redis.RedisCache"
URL = "redis://cache.example/1"
CACHE = "django.contrib.sessions.backends.cache"
CACHED_DB = "django.contrib.sessions.backends.cached_db"


class Subclass(TieredCache):
    """Somebody's own."""


def tiered(location=URL, *, backend=TIERED, prefix="", **options):
    return {"BACKEND": backend, "LOCATION": location, "KEY_PREFIX": prefix, "OPTIONS": options}


def messages(*, deploy=False, **changed):
    """Run the checks as Django does, with these settings; return ours."""
    with override_settings(**changed):
        found = checks.run_checks(tags=[checks.Tags.caches], include_deployment_checks=deploy)
    return [message for message in found if message.id.startswith("nearcache.")]


class TestSessions:
    """W014."""

    @pytest.mark.parametrize(
        ("engine", "options", "effect"),
        [
            (CACHE, {"ON_ERROR": "miss"}, "all users are logged out for good"),
            (CACHE, {"ON_ERROR": "stale"}, "others get the sessions that have changed or ended"),
            (CACHE, {"ON_ERROR": "stale", "NEAR": None}, "all users are logged out for good"),
            (CACHED_DB, {"ON_ERROR": "stale"}, "users may get sessions that have changed or ended"),
            (CACHED_DB, {"ON_ERROR": "stale", "NEAR_EXCLUDE": ["a*"]}, "users may get sessions"),
        ],
    )
    @pytest.mark.parametrize(
        "backend", [TIERED, f"{__name__}.Subclass", "nearcache.django.traced.TieredCache"]
    )
    def test_hidden_outages_are_a_warning(self, engine, options, effect, backend):
        caches = {"default": tiered(), "users": tiered(backend=backend, prefix="users", **options)}
        (message,) = messages(CACHES=caches, SESSION_ENGINE=engine, SESSION_CACHE_ALIAS="users")
        assert isinstance(message, checks.Warning)
        assert message.id == "nearcache.W014"
        assert message.msg.startswith(
            "Sessions are stored in CACHES['users'], a TieredCache with the OPTIONS"
        )
        assert repr(options["ON_ERROR"]) in message.msg
        assert effect in message.msg
        assert "nearcache.W014" in message.hint

    @pytest.mark.parametrize(
        ("engine", "options"),
        [
            (CACHE, {}),
            (CACHE, {"ON_ERROR": "raise"}),
            (CACHED_DB, {}),
            (CACHED_DB, {"ON_ERROR": "miss"}),
            (CACHED_DB, {"ON_ERROR": "stale", "NEAR": None}),
            (CACHED_DB, {"ON_ERROR": "stale", "NEAR_EXCLUDE": ["django.contrib.sessions.*"]}),
            ("django.contrib.sessions.backends.db", {"ON_ERROR": "miss"}),
            ("somebody.else", {"ON_ERROR": "stale"}),
        ],
    )
    def test_others_are_no_warning(self, engine, options):
        assert messages(CACHES={"default": tiered(**options)}, SESSION_ENGINE=engine) == []

    def test_only_the_cache_of_the_sessions_matters(self):
        caches = {"default": tiered(), "pages": tiered(prefix="pages", ON_ERROR="miss")}
        assert messages(CACHES=caches, SESSION_ENGINE=CACHE) == []

    def test_debug_silences_it(self):
        caches = {"default": tiered(ON_ERROR="miss")}
        assert messages(CACHES=caches, SESSION_ENGINE=CACHE, DEBUG=True) == []
        assert len(messages(CACHES=caches, SESSION_ENGINE=CACHE)) == 1

    def test_key_of_a_session_is_the_one_that_is_excluded(self):
        for engine, prefix in KEY_PREFIXES.items():
            assert import_module(engine).SessionStore("a" * 32).cache_key.startswith(prefix)


@pytest.mark.parametrize("identity", IN_USE)
def test_packages_may_use_a_tiered_cache(identity, monkeypatch):
    monkeypatch.setattr("nearcache.django.checks.packages.apps.is_installed", lambda app: True)
    changed = {name: value for name, value in IN_USE[identity].items() if name != "INSTALLED_APPS"}
    assert messages(CACHES={"default": tiered()}, **changed) == []
    # The settings are those that a LocalCache is reported for.
    local = {"default": {"BACKEND": "nearcache.django.LocalCache"}}
    assert identity in {message.id for message in messages(CACHES=local, **changed)}


class TestClear:
    """W015."""

    def only_message(self, **caches):
        (message,) = messages(CACHES={"default": tiered("redis://elsewhere"), **caches})
        assert isinstance(message, checks.Warning)
        assert message.id == "nearcache.W015"
        return message

    @pytest.mark.parametrize(
        "same",
        [
            "redis://cache.example/1",
            "rediss://user:password@Cache.example:6379/1",
            "valkey://cache.example?db=1",
            "redis://cache.example/3?db=1",
            ["redis://cache.example/1", "redis://replica.example/1"],
        ],
    )
    @pytest.mark.parametrize("backend", [TIERED, REDIS])
    def test_flush_of_a_shared_database_is_a_warning(self, same, backend):
        flushing = tiered(prefix="a", CLEAR="flushdb")
        if backend == REDIS:
            other = {"BACKEND": REDIS, "LOCATION": same, "KEY_PREFIX": "a"}
            message = self.only_message(tiered=flushing | {"KEY_PREFIX": "b", "OPTIONS": {}}, other=other)
            assert "a RedisCache empties its database" in message.msg
            assert message.msg.startswith(
                "clear() of CACHES['other'] also deletes the entries of CACHES['tiered']"
            )
        else:
            message = self.only_message(a=flushing, b=tiered(same, prefix="b"), c=tiered(same, prefix="c"))
            expected = (
                "clear() of CACHES['a'] also deletes the entries of CACHES['b'] and CACHES['c']: it empties"
            )
            assert message.msg.startswith(expected)
            assert "Remove OPTIONS['CLEAR']" in message.hint

    def test_database_may_be_an_option(self):
        a = tiered("redis://cache.example", prefix="a", CLEAR="flushdb", DB=1)
        assert "CACHES['b']" in self.only_message(a=a, b=tiered(prefix="b")).msg
        a["OPTIONS"]["DB"] = 2
        assert messages(CACHES={"default": a, "b": tiered(prefix="b")}) == []

    def test_prefix_within_a_prefix_is_a_warning(self):
        caches = {"a": tiered(prefix="site"), "b": tiered(prefix="site:pages"), "c": tiered(prefix="site2")}
        message = self.only_message(**caches)
        assert message.msg.startswith("clear() of CACHES['a'] also deletes the entries of CACHES['b']: ")
        assert "KEY_PREFIX" in message.hint

    @pytest.mark.parametrize("url", [URL, "unix:///run/redis.sock?db=1", "redis+sentinel://b,a:26379/main/1"])
    def test_warning_of_a_prefix_is_right(self, url):
        caches = {"default": tiered(url, prefix="a", CLEAR="flushdb"), "b": tiered(url, prefix="b")}
        assert [message.id for message in messages(CACHES=caches)] == ["nearcache.W015"]

    def test_what_a_prefix_s_clear_deletes(self, make_tiered, server):
        outer, inner = (make_tiered(server.url, KEY_PREFIX=prefix) for prefix in ("site", "site:pages"))
        for cache in (outer, inner, make_tiered(server.url, KEY_PREFIX="site2")):
            cache.set("key", 1)
        outer.clear()
        assert server.command("KEYS", "*") == [b"site2:1:key"]

    @pytest.mark.parametrize(
        "caches",
        [
            {"default": tiered(prefix="a", CLEAR="flushdb")},
            {"default": tiered(prefix="a"), "b": tiered(prefix="b")},
            {"default": tiered(), "b": tiered(prefix="b")},
            # The same entries.
            {"default": tiered(prefix="a", CLEAR="flushdb"), "b": tiered(prefix="a", NEAR=None)},
            {"default": tiered(prefix="a"), "b": {"BACKEND": REDIS, "LOCATION": URL, "KEY_PREFIX": "a"}},
            # Other databases.
            {
                "default": tiered(prefix="a", CLEAR="flushdb"),
                "b": tiered("redis://cache.example/2", prefix="b"),
            },
            {"default": tiered(prefix="a", CLEAR="flushdb"), "b": tiered("redis://b.example/1", prefix="b")},
            {
                "default": tiered(prefix="a", CLEAR="flushdb"),
                "b": tiered("redis://cache.example:1/1", prefix="b"),
            },
            {
                "default": tiered("redis+sentinel://a,b/one", prefix="a", CLEAR="flushdb"),
                "b": tiered("redis+sentinel://a,b/two", prefix="b"),
            },
            {
                "default": tiered("unix:///run/a.sock", prefix="a", CLEAR="flushdb"),
                "b": tiered("unix:///run/b.sock", prefix="b"),
            },
            # Not a matter of ours.
            {
                "default": {"BACKEND": REDIS, "LOCATION": URL, "KEY_PREFIX": "a"},
                "b": {"BACKEND": REDIS, "LOCATION": URL, "KEY_PREFIX": "b"},
            },
        ],
    )
    def test_others_are_no_warning(self, caches):
        assert messages(CACHES=caches) == []

    @pytest.mark.parametrize(
        "bad", [{"LOCATION": 5}, {"OPTIONS": {"CLEAR": "all"}}, {"KEY_PREFIX": "\ud800"}]
    )
    def test_bad_setting_is_left_to_django(self, bad):
        caches = {"default": tiered("redis://elsewhere"), "b": tiered() | bad}
        with override_settings(CACHES=caches, SESSION_CACHE_ALIAS="b", SESSION_ENGINE=CACHE):
            for check in (*CHECKS, *DEPLOY_CHECKS):
                assert check(app_configs=None) == []


@pytest.fixture(scope="module")
def limited(flavour):
    """Run a server whose limit the tests change."""
    with Server(flavour) as running:
        yield running


def set_limit(server, limit, policy):
    server.command("CONFIG", "SET", "maxmemory", limit)
    server.command("CONFIG", "SET", "maxmemory-policy", policy)


class TestServers:
    """W013."""

    @pytest.mark.parametrize(
        ("limit", "policy", "problem"),
        [
            ("100mb", "noeviction", "does not evict entries (maxmemory-policy noeviction)"),
            ("0", "noeviction", "has no limit for its memory (maxmemory 0)"),
            ("0", "allkeys-lru", "has no limit for its memory (maxmemory 0)"),
        ],
    )
    def test_server_without_limit_or_eviction_is_a_warning(self, limited, limit, policy, problem):
        set_limit(limited, limit, policy)
        caches = {
            "default": tiered(limited.url, prefix="a", NEAR="shared"),
            "b": tiered(limited.url, backend=f"{__name__}.Subclass", prefix="b", ON_ERROR="miss"),
        }
        (message,) = messages(deploy=True, CACHES=caches)
        assert isinstance(message, checks.Warning)
        assert message.id == "nearcache.W013"
        assert message.msg.startswith(f"The server of CACHES['default'] and CACHES['b'] {problem}")
        assert "maxmemory-policy" in message.hint
        assert "nearcache.W013" in message.hint
        assert messages(CACHES=caches) == []  # without --deploy

    @pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "volatile-lfu", "volatile-ttl"])
    def test_server_that_evicts_is_no_warning(self, limited, policy):
        set_limit(limited, "100mb", policy)
        assert messages(deploy=True, CACHES={"default": tiered(limited.url)}) == []

    def test_refused_write_is_what_the_warning_says(self, limited, make_tiered):
        set_limit(limited, "1", "noeviction")
        with pytest.raises(RemoteResponseError, match="OOM"):
            make_tiered(limited.url, ON_ERROR="miss").set("key", 1)

    def test_server_that_cannot_be_reached_is_no_warning(self, limited, caplog):
        caplog.set_level("INFO", "nearcache")
        with socket.create_server(("127.0.0.1", 0)) as silent:
            port = silent.getsockname()[1]
        assert messages(deploy=True, CACHES={"default": tiered(f"redis://127.0.0.1:{port}")}) == []
        assert "could not check the memory of the server of CACHES['default']" in caplog.text

    def test_server_that_is_silent_is_waited_for_once(self, monkeypatch, caplog):
        monkeypatch.setattr("nearcache.django.checks.servers._MAX_WAIT_SECONDS", 0.05)
        caplog.set_level("INFO", "nearcache")
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
            caches = {"default": tiered(url, prefix="a", socket_timeout=3000), "b": tiered(url, prefix="b")}
            assert messages(deploy=True, CACHES=caches) == []
        assert len(caplog.records) == 1

    def test_user_without_permission_is_no_warning(self, limited):
        set_limit(limited, "0", "noeviction")
        limited.command("ACL", "SETUSER", "bob", "on", ">secret", "~*", "+@all", "-info")
        url = limited.url.replace("://", "://bob:secret@")
        assert messages(deploy=True, CACHES={"default": tiered(url)}) == []

    def test_opens_no_near_tier(self, limited, shared_memory):
        set_limit(limited, "100mb", "allkeys-lru")
        path = shared_memory / "checked"
        tier = tiered(limited.url, prefix="checked", NEAR="shared", NEAR_LOCATION=str(path))
        with override_settings(CACHES={"default": tier}):
            assert check_servers() == []
        assert not path.exists()

    def test_each_primary_of_a_cluster_is_asked(self, cluster):
        url = cluster.url.replace("redis://", "redis+cluster://")
        told = TieredCache(url, {"OPTIONS": {"NEAR": None}})._info("memory")
        assert len(told) == 3
        assert all("maxmemory_policy:" in text for text in told)
