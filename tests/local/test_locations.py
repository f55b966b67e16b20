"""LOCATION names a store of the process, which all handles of that name share."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from support.caches import new_location


class TestLocation:
    def test_same_name_is_the_same_store(self, make_cache):
        location = new_location()
        one, two = make_cache(LOCATION=location), make_cache(LOCATION=location)
        one.set("key", [1])
        assert two.get("key") == [1]
        assert two.stats() == one.stats()
        two.clear()
        assert "key" not in one

    def test_other_name_is_another_store(self, make_cache):
        one, two = make_cache(), make_cache()
        one.set("key", 1)
        assert two.get("key") is None
        two.clear()
        assert one.get("key") == 1

    @pytest.mark.parametrize(
        "location", ["", "ünï", "a b", "/not/a/path", "x" * 10_000], ids=lambda name: name[:9]
    )
    def test_may_be_any_text(self, make_cache, location):
        one = make_cache(LOCATION=location)
        one.set("key", 1)
        assert make_cache(LOCATION=location).get("key") == 1

    def test_outlives_its_handles(self, make_cache):
        location = new_location()
        make_cache(LOCATION=location).set("key", 1)
        assert make_cache(LOCATION=location).get("key") == 1

    def test_is_separate_from_locmem_s(self, make_cache, make_locmem):
        location = new_location()
        make_locmem(LOCATION=location).set("key", 1)
        assert make_cache(LOCATION=location).get("key") is None

    @pytest.mark.parametrize(
        ("first", "second"), [("lru", "adaptive"), ("adaptive", "s3-fifo"), ("s3-fifo", "lru")]
    )
    def test_with_another_eviction_is_refused(self, make_cache, first, second):
        location = new_location()
        cache = make_cache(LOCATION=location, EVICTION=first)
        with pytest.raises(ImproperlyConfigured) as raised:
            make_cache(LOCATION=location, EVICTION=second)
        assert location in str(raised.value)
        assert first in str(raised.value)
        cache.set("key", 1)
        assert make_cache(LOCATION=location, EVICTION=first).get("key") == 1

    def test_may_have_handles_of_different_timeouts_and_clocks(self, make_cache, clock):
        location = new_location()
        short = make_cache(LOCATION=location, CLOCK=clock.path, TIMEOUT=10)
        long = make_cache(LOCATION=location, CLOCK=clock.path, TIMEOUT=100)
        short.set("short", 1)
        long.set("long", 1)
        clock.advance(10)
        assert short.get_many(["short", "long"]) == long.get_many(["short", "long"]) == {"long": 1}
