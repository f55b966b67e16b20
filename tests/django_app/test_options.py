"""The settings in CACHES: accepted values, their effect, and the errors for others."""

from decimal import Context, Decimal, FloatOperation, Inexact, localcontext
from fractions import Fraction

import pytest
from django.core.cache import CacheHandler
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy

from nearcache.django import LocalCache
from nearcache.django.options import SharedOptions

KIB, MIB, GIB, TIB = 1024, 1024**2, 1024**3, 1024**4
UNBOUND = None


def limits(cache):
    return cache._max_entries, cache._max_memory, cache._cull_frequency


def complaint(**settings):
    """Return what Django says of these settings of its default cache."""
    settings = {"default": {"BACKEND": "nearcache.django.LocalCache", **settings}}
    with pytest.raises(ImproperlyConfigured) as caught:
        CacheHandler(settings)["default"]
    return str(caught.value)


def refused(*values):
    """Parametrize a test with values, named by what they look like."""
    names = [repr(value)[:30].partition(" at 0x")[0] for value in values]
    return pytest.mark.parametrize("value", values, ids=names)


class TestDefaults:
    def test_bound_is_64_mb(self, make_cache):
        assert limits(make_cache()) == (UNBOUND, 64 * MIB, UNBOUND)

    def test_backend_alone_is_enough(self):
        cache = CacheHandler({"default": {"BACKEND": "nearcache.django.LocalCache"}})["default"]
        assert type(cache) is LocalCache
        assert limits(cache) == (UNBOUND, 64 * MIB, UNBOUND)
        assert (cache.default_timeout, cache.key_prefix, cache.version) == (300, "", 1)

    def test_none_is_the_default_of_each_option(self, make_cache):
        cache = make_cache(MAX_ENTRIES=None, CULL_FREQUENCY=None, CLOCK=None)
        assert limits(cache) == limits(make_cache())

    def test_no_options_are_the_default(self, make_cache):
        assert limits(make_cache(OPTIONS={})) == limits(make_cache())

    def test_settings_are_not_changed(self):
        params = {"TIMEOUT": 7, "OPTIONS": {"MAX_ENTRIES": 10, "MAX_MEMORY": "1MB"}}
        LocalCache("options-kept", params)
        assert params == {"TIMEOUT": 7, "OPTIONS": {"MAX_ENTRIES": 10, "MAX_MEMORY": "1MB"}}


class TestInterplay:
    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({"MAX_ENTRIES": 10}, (10, UNBOUND, UNBOUND)),
            ({"MAX_ENTRIES": 10, "MAX_MEMORY": "1MB"}, (10, MIB, UNBOUND)),
            ({"MAX_MEMORY": None}, (UNBOUND, UNBOUND, UNBOUND)),
            ({"MAX_MEMORY": "1MB"}, (UNBOUND, MIB, UNBOUND)),
            ({"CULL_FREQUENCY": 2}, (300, UNBOUND, 2)),
            ({"CULL_FREQUENCY": 2, "MAX_MEMORY": "1MB"}, (300, MIB, 2)),
            ({"CULL_FREQUENCY": 0, "MAX_ENTRIES": 10}, (10, UNBOUND, 0)),
            ({"EVICTION": "s3-fifo"}, (UNBOUND, 64 * MIB, UNBOUND)),
            ({"EVICTION": "lru"}, (UNBOUND, 64 * MIB, UNBOUND)),
            ({"EVICTION": "lru", "MAX_ENTRIES": 10}, (10, UNBOUND, 3)),
            ({"EVICTION": "lru", "MAX_ENTRIES": 10, "CULL_FREQUENCY": 5}, (10, UNBOUND, 5)),
            ({"EVICTION": "s3-fifo", "MAX_ENTRIES": 10}, (10, UNBOUND, UNBOUND)),
        ],
    )
    def test_combined_options(self, make_cache, options, expected):
        assert limits(make_cache(OPTIONS=options)) == expected

    def test_max_entries_alone_bounds_no_memory(self, make_cache):
        cache = make_cache(MAX_ENTRIES=2)
        cache.set("large", bytes(65 * MIB))
        assert len(cache.get("large")) == 65 * MIB

    def test_default_bounds_no_entries(self, make_cache):
        cache = make_cache()
        cache.set_many(dict.fromkeys(range(10_000), 1))
        assert cache.stats().entries == 10_000

    def test_lru_with_max_entries_culls_a_third(self, make_cache):
        cache = make_cache(EVICTION="lru", MAX_ENTRIES=9)
        cache.set_many(dict.fromkeys(range(9), 1))
        assert cache.stats().entries == 9
        cache.set("one", 1)
        assert cache.stats().entries == 7

    def test_s3_fifo_with_max_entries_evicts_one(self, make_cache):
        cache = make_cache(MAX_ENTRIES=9)
        cache.set_many(dict.fromkeys(range(10), 1))
        assert cache.stats().entries == 9

    def test_cull_frequency_alone_culls_at_django_s_300_entries(self, make_cache):
        cache = make_cache(CULL_FREQUENCY=2)
        cache.set_many(dict.fromkeys(range(300), 1))
        assert cache.stats().entries == 300
        cache.set("one", 1)
        assert cache.stats().entries == 151

    def test_one_store_takes_handles_with_limits_of_their_own(self, make_cache):
        large = make_cache(LOCATION="options-shared", MAX_ENTRIES=100)
        small = make_cache(LOCATION="options-shared", MAX_ENTRIES=5)
        large.set_many(dict.fromkeys(range(50), 1))
        assert large.stats().entries == 50
        small.set("one", 1)
        assert large.stats().entries == 5


class TestMaxMemory:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("64MB", 64 * MIB),
            ("64 mb", 64 * MIB),
            (" 64Mb ", 64 * MIB),
            ("1.5GB", 1.5 * GIB),
            ("0.5 MB", MIB / 2),
            ("512KiB", 512 * KIB),
            ("512kib", 512 * KIB),
            ("512KB", 512 * KIB),
            ("2TB", 2 * TIB),
            ("2048B", 2048),
            ("2048", 2048),
            (" 2048 ", 2048),
            (2048, 2048),
            (1024, 1024),
            (64e6, 64_000_000),
            (Decimal(2048), 2048),
            ("1e6", 10**6),
            ("2048.0", 2048),
            ("+2048", 2048),
            ("1_000_000", 10**6),
            ("1.5e3", 1500),
            ("1KB", 1024),
            (2**63 - 1, 2**63 - 1),
        ],
    )
    def test_accepted(self, make_cache, value, expected):
        assert make_cache(MAX_MEMORY=value)._max_memory == expected

    def test_bound_holds(self, make_cache):
        cache = make_cache(MAX_MEMORY="10 KB")
        cache.set_many({key: bytes(200) for key in range(500)})
        assert 5 * KIB < cache.stats().memory <= 10 * KIB

    @refused(
        *(
            "64M",
            "64 K",
            "64Mi",
            "64I",
            "6400i",
            "6400iB",
            "64PB",
            "64 MB RAM",
            "MB",
            "",
            " ",
            "64,5MB",
            "1.5",
            "2048.5",
            "1e999999999",
        ),
        *(
            "-1",
            "-64MB",
            "+64MB",
            "0",
            "0MB",
            "1023",
            "0.5KB",
            "1_000MB",
            "1e3MB",
            "0x10000",
            "64MB\n64MB",
            "inf",
            "nan",
        ),
        *(-1, 0, 1, 1023, 2**63, 10**400, True, False, 3.5, 65536.5, float("nan"), float("inf")),
        *(b"64MB", ["64MB"], ("64MB",), {"MB": 64}, object(), "9" * 30 + "TB", "9" * 400, "9" * 400 + "MB"),
        "64\N{KELVIN SIGN}B",
    )
    def test_refused(self, value):
        text = complaint(OPTIONS={"MAX_MEMORY": value})
        assert "MAX_MEMORY" in text
        assert repr(value) in text
        assert "'64MB'" in text
        assert "1024" in text

    @pytest.mark.parametrize(
        ("value", "expected"), [("64MB", 64 * MIB), ("1.5GB", 1.5 * GIB), ("1.0001KB", 1024)]
    )
    def test_does_not_depend_on_the_decimal_context(self, make_cache, value, expected):
        # Free-threaded Python 3.14 shares a context between a thread and those that it starts.
        with localcontext(Context(prec=2, traps=[Inexact])) as context:
            assert make_cache(MAX_MEMORY=value)._max_memory == expected
            assert not any(context.flags.values())


class TestMaxEntries:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            *((1, 1), (300, 300), ("300", 300), (" 300 ", 300), ("1_000", 1000), (2**63 - 1, 2**63 - 1)),
            # As django-cachalot sets it.
            *((10e9, 10**10), (300.0, 300), ("1e3", 1000), ("64.0", 64), (Decimal("3E+2"), 300)),
        ],
    )
    def test_accepted(self, make_cache, value, expected):
        assert make_cache(MAX_ENTRIES=value)._max_entries == expected

    @refused(
        *(0, -1, 0.0, 2**63, 10**400, 1e300, True, False, 3.5, 1.5, float("nan"), float("inf")),
        *("0", "-1", "", "many", "1.5", "3.5", "64MB", "inf", "nan", "sNaN", b"300", [300], {}, object()),
        *("1e999999999", "1e-999999999", "9" * 399 + ".5", Decimal("1.5"), Decimal("NaN"), 3 + 0j),
        *(gettext_lazy("300"), Fraction(3, 1)),
    )
    def test_refused(self, value):
        text = complaint(OPTIONS={"MAX_ENTRIES": value})
        assert "MAX_ENTRIES" in text
        assert repr(value) in text
        assert "whole number of at least 1" in text

    def test_django_s_parameter_beside_the_options_is_used(self):
        cache = LocalCache("options-params", {"max_entries": "7", "OPTIONS": {"MAX_ENTRIES": 9}})
        assert cache._max_entries == 7

    @pytest.mark.parametrize("value", ["many", 1.5, "1.5", True])
    def test_django_s_parameter_is_checked(self, value):
        with pytest.raises(ImproperlyConfigured, match=f"MAX_ENTRIES is {value!r}"):
            LocalCache("options-params", {"max_entries": value})

    @pytest.mark.parametrize("value", [7.0, "7.0", "7e0"])
    def test_django_s_parameters_may_be_floats_and_text(self, value):
        cache = LocalCache("options-params", {"max_entries": value, "cull_frequency": value})
        assert limits(cache) == (7, UNBOUND, 7)

    @pytest.mark.parametrize("value", [300.0, "3e2", "300.0", "300", Decimal(300)], ids=repr)
    def test_does_not_depend_on_the_decimal_context(self, value):
        with localcontext(Context(prec=2, traps=[Inexact, FloatOperation])) as context:
            assert LocalCache("options-context", {"OPTIONS": {"MAX_ENTRIES": value}})._max_entries == 300
            assert "MAX_ENTRIES is 'many'" in complaint(OPTIONS={"MAX_ENTRIES": "many"})
        # Threads may share a context, and would race to write it.
        assert not any(context.flags.values())


class TestCullFrequency:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (0, 0),
            (1, 1),
            (3, 3),
            ("3", 3),
            (2**32 - 1, 2**32 - 1),
            (3.0, 3),
            (0.0, 0),
            ("2.0", 2),
            ("1e2", 100),
        ],
    )
    def test_accepted(self, make_cache, value, expected):
        assert make_cache(CULL_FREQUENCY=value)._cull_frequency == expected

    @refused(
        -1,
        2**32,
        True,
        False,
        0.5,
        1.5,
        "1.5",
        "inf",
        "nan",
        float("inf"),
        "-1",
        "",
        "third",
        b"3",
        [3],
        object(),
    )
    def test_refused(self, value):
        text = complaint(OPTIONS={"CULL_FREQUENCY": value})
        assert "CULL_FREQUENCY" in text
        assert repr(value) in text
        assert "whole number from 0 to" in text

    def test_django_s_parameter_beside_the_options_is_used(self):
        cache = LocalCache("options-params", {"cull_frequency": "2", "OPTIONS": {"CULL_FREQUENCY": 9}})
        assert cache._cull_frequency == 2


class TestEviction:
    @pytest.mark.parametrize("value", ["s3-fifo", "adaptive", "lru"])
    def test_accepted(self, make_cache, value):
        cache = make_cache(EVICTION=value)
        cache.set("key", "value")
        assert cache.get("key") == "value"

    @refused(
        "lfu",
        "LRU",
        "S3-FIFO",
        "s3fifo",
        "",
        None,
        1,
        True,
        ["lru"],
        {"lru"},
        b"lru",
    )
    def test_refused(self, value):
        text = complaint(OPTIONS={"EVICTION": value})
        assert "EVICTION" in text
        assert repr(value) in text
        assert "'adaptive', 's3-fifo' or 'lru'" in text

    def test_store_has_one_policy(self):
        LocalCache("options-one-policy", {"OPTIONS": {"EVICTION": "lru"}}).set("key", "kept")
        text = complaint(LOCATION="options-one-policy", OPTIONS={"EVICTION": "s3-fifo"})
        assert "options-one-policy" in text
        assert "lru" in text
        assert LocalCache("options-one-policy", {"OPTIONS": {"EVICTION": "lru"}}).get("key") == "kept"


class TestClock:
    @pytest.mark.parametrize("value", ["time.time", "support.manual_clock.read", None])
    def test_accepted(self, make_cache, value):
        cache = make_cache(CLOCK=value)
        cache.set("key", "value")
        assert cache.get("key") == "value"

    @refused(
        *(
            "time",
            "",
            "time.",
            ".time",
            ".",
            "..",
            "..time.time",
            "time..time",
            "no_such_module.time",
            "time.no_such",
        ),
        *(
            "time.timezone",
            "os.path.no_such.time",
            "datetime.datetime.now",
            0,
            True,
            len,
            b"time.time",
            ["time.time"],
        ),
    )
    def test_refused(self, value):
        text = complaint(OPTIONS={"CLOCK": value})
        assert "CLOCK" in text
        assert repr(value) in text
        assert "dotted path" in text or "cannot be imported" in text


class TestSharedOptions:
    def test_numbers_may_be_floats_and_text(self):
        options = SharedOptions.parse("name", {"TIMEOUT": "1e1", "OPTIONS": {"MAX_MEMORY": 2e6}})
        assert (options.timeout, options.max_memory) == (10, 2_000_000)
        options = SharedOptions.parse("name", {"timeout": 7.0, "OPTIONS": {"MAX_MEMORY": "2e6"}})
        assert (options.timeout, options.max_memory) == (7, 2_000_000)

    @pytest.mark.parametrize("params", [{"TIMEOUT": 1.5}, {"OPTIONS": {"MAX_MEMORY": 1048577.5}}])
    def test_fractions_are_refused(self, params):
        with pytest.raises(ImproperlyConfigured, match=r"expected a whole number of"):
            SharedOptions.parse("name", params)


class TestMessages:
    def test_long_value_is_cut(self):
        text = complaint(OPTIONS={"MAX_MEMORY": "9" * 100_000})
        assert "MAX_MEMORY" in text
        assert len(text) < 1500

    def test_number_too_large_to_show_is_described(self):
        assert "MAX_ENTRIES is a huge int" in complaint(OPTIONS={"MAX_ENTRIES": 10**10_000})


class TestTimeout:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [(None, None), (0, 0), (-1, -1), (7, 7), ("7", 7), (" 7 ", 7), (10**400, 10**400)],
    )
    def test_read_as_django_does(self, make_cache, make_locmem, value, expected):
        assert make_locmem(TIMEOUT=value).default_timeout == expected
        assert make_cache(TIMEOUT=value).default_timeout == expected

    @pytest.mark.parametrize(
        ("value", "expected"),
        [(7.0, 7), (10e9, 10**10), ("7.0", 7), ("1e6", 10**6), ("-1", -1), (Decimal(7), 7)],
    )
    def test_whole_numbers_of_any_kind_are_accepted(self, make_cache, value, expected):
        for name in ("TIMEOUT", "timeout"):
            assert LocalCache("options-timeout", {name: value}).default_timeout == expected

    def test_text_takes_effect(self, make_cache, clock):
        cache = make_cache(TIMEOUT="1e1", CLOCK=clock.path)
        cache.set("key", "value")
        assert cache.ttl("key") == 10

    @refused(
        *("", "never", "3.5", "5 minutes", "None", float("nan"), float("inf"), [], {}, object()),
        *(1.9, "1.5", True, False, b"300", "inf", "nan", "1e999999999"),
    )
    def test_refused(self, value):
        text = complaint(TIMEOUT=value)
        assert "TIMEOUT" in text
        assert repr(value) in text
        assert "number of seconds" in text
        assert "None" in text

    def test_lower_case_is_accepted(self):
        assert LocalCache("options-timeout", {"timeout": 5, "TIMEOUT": 7}).default_timeout == 5

    def test_lower_case_is_checked(self):
        with pytest.raises(ImproperlyConfigured, match="TIMEOUT is 'never'"):
            LocalCache("options-timeout", {"timeout": "never"})


class TestLocation:
    @pytest.mark.parametrize("value", ["", "name", "with spaces", "/like/a/path", "ö\N{SNOWMAN}", "x" * 1000])
    def test_accepted(self, make_cache, value):
        make_cache(LOCATION=value).set("key", value)
        assert make_cache(LOCATION=value).get("key") == value

    def test_names_are_distinguished(self, make_cache):
        make_cache(LOCATION="options-a").set("key", "a")
        assert make_cache(LOCATION="options-A").get("key") is None

    @refused(
        None,
        1,
        True,
        b"name",
        ["a", "b"],
        object(),
        gettext_lazy("name"),
    )
    def test_refused(self, value):
        text = complaint(LOCATION=value)
        assert "LOCATION" in text
        assert repr(value) in text
        assert "string" in text


class TestOptions:
    @refused(None, [], [("MAX_ENTRIES", 3)], "MAX_ENTRIES=3", 3, {"MAX_ENTRIES"})
    def test_refused_if_not_a_dictionary(self, value):
        text = complaint(OPTIONS=value)
        assert "OPTIONS" in text
        assert repr(value) in text
        assert "dictionary" in text

    @pytest.mark.parametrize(
        ("name", "meant"),
        [
            ("MAXENTRIES", "MAX_ENTRIES"),
            ("MAX_ENTRY", "MAX_ENTRIES"),
            ("max_entries", "MAX_ENTRIES"),
            ("MAX_MEM", "MAX_MEMORY"),
            ("MAXMEMORY", "MAX_MEMORY"),
            ("CULL_FREQ", "CULL_FREQUENCY"),
            ("cull-frequency", "CULL_FREQUENCY"),
            ("EVICTON", "EVICTION"),
            ("eviction", "EVICTION"),
            ("CLOK", "CLOCK"),
        ],
    )
    def test_unknown_one_is_refused_with_a_suggestion(self, name, meant):
        text = complaint(OPTIONS={"MAX_ENTRIES": 10, name: 1})
        assert repr(name) in text
        assert f"Did you mean {meant!r}?" in text

    @pytest.mark.parametrize("name", ["MAX_MEMORY", "EVICTION", "CLOCK"])
    def test_one_beside_it_is_refused(self, name):
        assert f"{name} is beside OPTIONS" in complaint(**{name: "64MB"})

    @pytest.mark.parametrize(
        "name", ["SERIALIZER", "CLIENT_CLASS", "", "X", 1, None, ("MAX_ENTRIES",)], ids=repr
    )
    def test_unknown_one_is_refused(self, name):
        text = complaint(OPTIONS={name: 1})
        assert repr(name) in text
        for known in ("MAX_ENTRIES", "CULL_FREQUENCY", "MAX_MEMORY", "EVICTION", "CLOCK"):
            assert known in text

    def test_bad_one_opens_no_store(self):
        complaint(LOCATION="options-not-open", OPTIONS={"EVICTION": "lru", "MAX_ENTRIES": 0})
        # With another policy, which an open store would refuse.
        LocalCache("options-not-open", {"OPTIONS": {"EVICTION": "s3-fifo"}}).set("key", "value")


class TestDjangoSettings:
    def test_prefix_and_version_take_effect(self, make_cache):
        make_cache(LOCATION="options-keys", KEY_PREFIX="a", VERSION=2).set("key", "a2")
        other = make_cache(LOCATION="options-keys", KEY_PREFIX="a")
        assert other.get("key") is None
        assert other.get("key", version=2) == "a2"

    def test_key_function_takes_effect(self, make_cache):
        make_cache(LOCATION="options-keys", KEY_FUNCTION=lambda key, prefix, version: "made").set("key", 1)
        assert make_cache(LOCATION="options-keys", KEY_FUNCTION=lambda *_: "made").get("other") == 1

    def test_timeout_takes_effect(self, make_cache, clock):
        cache = make_cache(TIMEOUT=10, CLOCK=clock.path)
        cache.set("key", "value")
        clock.advance(9.9)
        assert cache.get("key") == "value"
        clock.advance(0.1)
        assert cache.get("key") is None
