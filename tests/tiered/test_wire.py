"""Keys, values and timeouts have the form that Django's RedisCache gives them, and each reads the other's."""

import pickle
import threading
from decimal import Decimal

import pytest

from nearcache.django.errors import RemoteResponseError
from support.near_tiers import NEAR, Caches
from support.redis_servers.waiting import wait_until

VALUES = {
    "zero": 0,
    "negative": -7,
    "64 bits": 2**63 - 1,
    "big": 10**40,
    "big negative": -(10**40),
    "true": True,
    "false": False,
    "none": None,
    "float": 1.5,
    "empty text": "",
    "digits": "12",
    "digits in bytes": b"12",
    "bytes": b"\x80\x05not a pickle",
    "list": [1, {"a": (2, None)}],
    "decimal": Decimal("1.10"),
}
values = pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)


@pytest.fixture(params=NEAR, ids=str)
def caches(request, server, tmp_path):
    """Return what makes caches with one of the near tiers."""
    made = Caches(server, request.param, tmp_path)
    yield made
    made.close()


@pytest.fixture
def ours(caches):
    """Return a TieredCache."""
    return caches.make()


@pytest.fixture
def theirs(caches):
    """Return Django's RedisCache on the same server."""
    return caches.django()


class TestValues:
    @values
    def test_of_ours_are_read_by_django(self, ours, theirs, value):
        ours.set("key", value)
        ours.set_many({"many": value})
        ours.add("added", value)
        for key in ("key", "many", "added"):
            assert theirs.get(key, "missing") == value
            assert type(theirs.get(key)) is type(value)

    @values
    def test_of_django_are_read_by_ours(self, ours, theirs, value):
        theirs.set("key", value)
        theirs.set_many({"many": value})
        theirs.add("added", value)
        for key in ("key", "many", "added"):
            assert ours.get(key, "missing", fresh=True) == value
            assert type(ours.get(key)) is type(value)
        assert ours.get_many(["key", "many", "none"]) == {"key": value, "many": value}

    @values
    def test_have_the_same_bytes(self, caches, ours, theirs, value):
        ours.set("ours", value)
        theirs.set("theirs", value)
        assert caches.wire.command("GET", ":1:ours") == caches.wire.command("GET", ":1:theirs")

    def test_are_decimal_text_if_they_are_integers(self, caches, ours):
        ours.set_many({"int": 12, "bool": True})
        assert caches.wire.command("GET", ":1:int") == b"12"
        assert pickle.loads(caches.wire.command("GET", ":1:bool")) is True

    def test_have_django_s_bytes_without_the_options_of_a_protocol(self, caches, ours):
        ours.set("key", [1])
        assert caches.wire.command("GET", ":1:key") == pickle.dumps([1], pickle.HIGHEST_PROTOCOL)

    def test_that_cannot_be_pickled_leave_the_old_value(self, ours):
        ours.set("key", 1)
        with pytest.raises(TypeError, match="cannot pickle"):
            ours.set("key", threading.Lock())
        assert ours.get("key") == 1

    def test_of_django_replace_near_copies(self, ours, theirs):
        ours.set("key", 1)
        assert ours.get("key") == ours.get("key") == 1
        theirs.set("key", 2)
        assert ours.get("key", fresh=True) == 2
        wait_until(lambda: ours.get("key") == 2, "Django's value")


class TestKeys:
    @pytest.mark.parametrize("prefix", ["", "site", "a:b", "*", "[ab]?^\\", "präfix"])
    @pytest.mark.parametrize("key", ["key", "sch:lüssel", 5])
    def test_are_those_of_django(self, caches, prefix, key):
        settings = {"KEY_PREFIX": prefix, "VERSION": 3}
        caches.make(**settings).set(key, 1)
        assert caches.wire.command("KEYS", "*") == [f"{prefix}:3:{key}".encode()]
        assert caches.django(**settings).get(key) == 1
        caches.django(**settings).delete(key)
        wait_until(lambda: caches.make(**settings).get(key) is None, "the key is deleted")

    def test_are_made_by_a_function(self, caches):
        def reverse(key, prefix, version):
            return f"{key}|{prefix}|{version}"[::-1]

        settings = {"KEY_FUNCTION": reverse, "KEY_PREFIX": "p"}
        caches.make(**settings).set("key", [1])
        assert caches.wire.command("KEYS", "*") == [b"1|p|yek"]
        assert caches.django(**settings).get("key") == [1]


class TestTimeouts:
    @pytest.mark.parametrize("timeout", [1, 100, 86_400])
    def test_are_whole_seconds(self, caches, ours, timeout):
        ours.set("key", 1, timeout)
        left = caches.wire.command("PTTL", ":1:key")
        assert timeout * 1000 - 900 < left <= timeout * 1000

    @pytest.mark.parametrize(("timeout", "words"), [(60, b'"EX" "60"'), (1.5, b'"PX" "1500"')])
    def test_are_sent_in_seconds_if_they_are_whole(self, server, ours, timeout, words):
        with server.client() as monitor:
            monitor.command("MONITOR")
            ours.set("key", 1, timeout)
            while b'"SET"' not in (line := str(monitor.receive()).encode()):
                pass
        assert words in line

    def test_may_have_milliseconds(self, caches, ours):
        ours.set("key", 1, 1000.5)
        assert 1_000_000 < caches.wire.command("PTTL", ":1:key") <= 1_000_500

    def test_none_is_no_expiry(self, caches, ours, theirs):
        ours.set("ours", 1, None)
        theirs.set("theirs", 1, None)
        assert caches.wire.command("PTTL", ":1:ours") == caches.wire.command("PTTL", ":1:theirs") == -1
        assert ours.ttl("theirs") is None

    @pytest.mark.parametrize("timeout", [0, -1, -1.5])
    def test_of_zero_or_less_delete(self, ours, theirs, timeout):
        for cache in (ours, theirs):
            cache.set("key", 1)
            cache.set("key", 2, timeout)
            assert cache.get("key") is None
        ours.set_many({"a": 1, "b": 2})
        assert ours.set_many({"a": 3}, timeout) == []
        assert ours.get_many("ab") == {"b": 2}
        assert ours.touch("b", timeout) is True
        assert "b" not in ours

    def test_of_zero_with_conditions(self, ours, theirs):
        for cache in (ours, theirs):
            assert cache.add("key", 1, 0) is True
            assert "key" not in cache
            cache.set("key", 1)
            assert cache.add("key", 2, 0) is False
            assert cache.get("key") == 1
            cache.delete("key")
        ours.set("key", 1)
        assert ours.set("key", 2, 0, nx=True) is False
        assert ours.get("key") == 1
        assert ours.set("key", 2, 0, xx=True) is True
        assert "key" not in ours
        assert ours.set("key", 2, 0, xx=True) is False

    def test_are_changed_by_touch(self, caches, ours):
        ours.set("key", 1)
        assert ours.touch("key", 1000)
        assert 999_000 < caches.wire.command("PTTL", ":1:key") <= 1_000_000
        assert ours.touch("key", None)
        assert caches.wire.command("PTTL", ":1:key") == -1
        assert ours.touch("missing") is False


class TestIncr:
    def test_is_the_server_s_and_keeps_the_expiry(self, caches, ours, theirs):
        ours.set("key", 1, 1000)
        assert ours.get("key") == 1
        assert (ours.incr("key"), theirs.incr("key", 5), ours.decr("key", 3)) == (2, 7, 4)
        assert caches.wire.command("GET", ":1:key") == b"4"
        assert ours.get("key") == 4
        assert 0 < caches.wire.command("TTL", ":1:key") <= 1000

    def test_of_a_missing_key_raises(self, ours):
        with pytest.raises(ValueError, match="Key ':1:missing' not found"):
            ours.incr("missing")
        assert "missing" not in ours

    @pytest.mark.parametrize("value", ["text", [1], 1.5, True, None, 2**64])
    def test_of_what_a_server_cannot_add_to_raises(self, ours, value):
        ours.set("key", value)
        with pytest.raises(RemoteResponseError, match="integer"):
            ours.incr("key")
        assert ours.get("key") == value

    def test_beyond_64_bits_raises(self, ours):
        ours.set("key", 2**63 - 1)
        with pytest.raises(RemoteResponseError, match="overflow"):
            ours.incr("key")
        assert ours.get("key") == 2**63 - 1

    @pytest.mark.parametrize(("delta", "error"), [(1.5, TypeError), ("1", TypeError), (2**64, ValueError)])
    def test_by_what_is_no_integer_of_64_bits_raises(self, ours, delta, error):
        ours.set("key", 1)
        with pytest.raises(error, match="delta must"):
            ours.incr("key", delta)
        assert ours.get("key") == 1
