"""The near copies: which reads find them, and for how long."""

import threading
import time

import pytest
from django.core.cache import caches

from nearcache.django import TieredCache
from nearcache.django.remote_alias import options as alias_options


class TestNear:
    @pytest.fixture(params=["local", "shared"])
    def pair(self, request, configure):
        options = request.getfixturevalue("shared_options") if request.param == "shared" else {}
        return configure(**options)

    def test_read_keeps_a_copy_for_a_while(self, pair):
        cache, remote = pair
        remote.set("key", "old")
        assert cache.get("key") == "old"
        remote.set("key", "new")
        assert cache.get("key") == "old"
        assert cache.get("key", fresh=True) == "new"
        assert cache.get("key") == "new"

    def test_copy_ends_after_near_ttl(self, configure):
        cache, remote = configure(NEAR_TTL=0.05)
        remote.set("key", "old")
        assert cache.get("key") == "old"
        remote.set("key", "new")
        time.sleep(0.1)
        assert cache.get("key") == "new"

    def test_default_of_near_ttl(self, configure):
        cache, remote = configure(NEAR_TTL="5")
        remote.set("key", 1)
        cache.get("key")
        kept = cache._near.copies.pttl(remote.make_key("key"))
        assert 4_000 < kept <= 5_000
        parsed = alias_options.AliasOptions.parse("", {"OPTIONS": {"REMOTE": "remote"}})
        assert parsed.near_ttl == 5

    def test_none_is_a_value(self, pair):
        cache, remote = pair
        remote.set("key", None)
        assert cache.get("key", "default") is None
        remote.delete("key")
        assert cache.get("key", "default") is None
        assert cache.get("other", "default") == "default"

    def test_misses_are_not_kept(self, pair):
        cache, remote = pair
        assert cache.get("key") is None
        remote.set("key", 1)
        assert cache.get("key") == 1

    def test_get_many_reads_copies_and_the_rest(self, pair):
        cache, remote = pair
        remote.set_many({"a": 1, "b": 2, "c": None})
        assert cache.get("a") == 1
        remote.set("a", "changed")
        assert cache.get_many(iter(["a", "b", "c", "d"])) == {"a": 1, "b": 2, "c": None}
        remote.set("b", "changed")
        assert cache.get("b") == 2

    def test_versions_have_copies_of_their_own(self, pair):
        cache, remote = pair
        remote.set("key", 1, version=1)
        remote.set("key", 2, version=2)
        assert [cache.get("key", version=version) for version in (1, 2, 1, 2)] == [1, 2, 1, 2]

    def test_long_keys(self, pair):
        cache, remote = pair
        with pytest.warns(Warning, match="longer than 250"):
            remote.set("k" * 70_000, 1)
        with pytest.warns(Warning, match="longer than 250"):
            assert cache.get("k" * 70_000) == 1
        # A near hit asks nobody, so nobody warns.
        assert cache.get("k" * 70_000) == 1

    def test_value_from_a_copy_is_not_shared(self, pair):
        cache, remote = pair
        remote.set("key", [1])
        cache.get("key").append(2)
        cache.get("key").append(2)
        assert cache.get("key") == [1]

    def test_without_a_near_tier_every_read_asks(self, configure):
        cache, remote = configure(NEAR=None)
        for number in range(3):
            remote.set("key", number)
            assert cache.get("key") == number
            assert cache.get_many(["key"]) == {"key": number}
        cache.delete("key")
        cache.clear()
        assert cache.stats().entries == 0

    def test_stats_are_those_of_the_near_tier(self, configure):
        cache, remote = configure()
        remote.set("key", 1)
        for _ in range(3):
            cache.get("key")
        stats = cache.stats()
        assert (stats.hits, stats.misses, stats.entries) == (2, 1, 1)
        assert stats.remote is None
        cache.reset_stats()
        assert cache.stats().hits == 0

    def test_caches_with_one_remote_share_their_copies(self, configure):
        configure()
        params = caches.settings["default"]
        other = TieredCache("", {"OPTIONS": params["OPTIONS"]})
        caches["remote"].set("key", 1)
        assert other.get("key") == 1
        caches["default"].set("key", 2)
        assert other.get("key") == 2

    def test_other_threads_see_the_copies(self, configure):
        cache, remote = configure()
        remote.set("key", 1)
        cache.get("key")
        remote.set("key", 2)
        seen = []
        thread = threading.Thread(target=lambda: seen.append(caches["default"].get("key")))
        thread.start()
        thread.join()
        assert seen == [1]
