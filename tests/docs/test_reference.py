"""The reference is complete: it names every method, option, check, metric, statistic and action there is."""

import argparse
import inspect
import re
from pathlib import Path

import pytest

from nearcache import Stats, _core
from nearcache.django import LocalCache, SharedCache, TieredCache, errors, locks, options, tiered_options
from nearcache.django.backend import Backend
from nearcache.django.management.commands.nearcache import Command

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
PACKAGE = Path(inspect.getfile(Backend)).parent

# Django's own, which a page mentions in words.
IN_WORDS = {"make_key", "validate_key", "make_and_validate_key", "get_backend_timeout", "key_func"}


def page(name):
    return (REFERENCE / f"{name}.md").read_text()


def public(owner):
    return {name for name, _ in inspect.getmembers(owner, callable) if not name.startswith("_")}


def test_methods():
    documented = set(re.findall(r"automethod:: Backend\.(\w+)", page("backends")))
    assert public(Backend) - IN_WORDS == documented
    assert public(LocalCache) == public(Backend)
    assert public(SharedCache) - public(Backend) <= {"verify"}
    assert public(TieredCache) == public(Backend)


def test_each_method_has_its_twin():
    documented = re.findall(r"automethod:: Backend\.(\w+)", page("backends"))
    plain, twins = documented[::2], documented[1::2]
    assert twins == [f"a{name}" for name in plain]


OPTIONS = {*options.LOCAL, *options.SHARED, *tiered_options.NAMES, "NEARCACHE_FAST_PROXY"}


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_options(name):
    assert f"`{name}`" in page("settings")


def test_checks():
    sources = "".join(path.read_text() for path in (PACKAGE / "checks").glob("*.py"))
    assert set(re.findall(r"nearcache\.[WE]\d{3}", sources)) == set(
        re.findall(r"nearcache\.[WE]\d{3}", page("checks"))
    )


def message_fragments():
    """Return the texts in code in the columns of `errors.md` that say what a message contains."""
    cells = re.findall(
        r"^\| (?:(?:info|warning) \| )?((?:`[^`]+`(?:, )?)+) \| ", page("errors"), re.MULTILINE
    )
    fragments = [fragment for cell in cells for fragment in re.findall(r"`([^`]+)`", cell)]
    return [fragment for fragment in fragments if " " in fragment]


def test_messages():
    root = REFERENCE.parents[1]
    sources = [*root.glob("crates/nearcache*/src/**/*.rs"), *root.glob("python/nearcache/django/**/*.py")]
    # As the compilers join strings: Rust by a backslash at the end of a line, Python side by side.
    text = "".join(re.sub(r'\\\n\s*|"\s*\n\s*f?"', "", path.read_text()) for path in sources)
    assert len(message_fragments()) > 20
    assert [fragment for fragment in message_fragments() if fragment not in text] == []


def test_metrics():
    source = (PACKAGE / "prometheus.py").read_text()
    names = set(re.findall(r'"((?:nearcache|django_cache)_\w+)"', source))
    assert names == set(re.findall(r"`((?:nearcache|django_cache)_\w+)`", page("metrics")))


def test_statistics():
    (members,) = re.findall(r":members: (.+)", page("stats"))
    fields = {name for name in vars(Stats) if not name.startswith("_")}
    assert fields == set(members.split(", "))


def test_statistics_of_the_tiers():
    documented = re.findall(r"^\| `(\w+)` \|", page("stats"), re.MULTILINE)
    fields = {name for name in vars(_core.RemoteStats) if not name.startswith("_")}
    assert len(documented) == len(fields)
    assert set(documented) == fields


def test_synonyms_of_options():
    names = {*tiered_options.SYNONYMS, *tiered_options.WITHOUT_EFFECT}
    assert [name for name in names if f"`{name}`" not in page("settings")] == []


def test_actions_and_their_options():
    parser = Command().create_parser("manage.py", "nearcache")
    (actions,) = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    rows = dict(re.findall(r"^\| `(\w+)[^`]*` \|(.*)\|$", page("command"), re.MULTILINE))
    assert set(actions.choices) == set(rows)
    for name, action in actions.choices.items():
        flags = {flag for one in action._actions for flag in one.option_strings if flag.startswith("--")}
        own = flags - {flag for one in parser._actions for flag in one.option_strings} - {"--json"}
        assert own == set(re.findall(r"--[a-z-]+", rows[name])), name


@pytest.mark.parametrize("error", [locks.LockError, locks.LockNotOwnedError])
def test_errors(error):
    assert f"`nearcache.django.{error.__name__}`" in page("errors")


def test_errors_of_a_server():
    classes = {name for name, value in vars(errors).items() if isinstance(value, type)}
    documented = re.findall(r"^\| `(Remote\w+)` \| (?:`(\w+)`)? ?\|", page("errors"), re.MULTILINE)
    assert {name for name, _ in documented} == classes
    for name, base in documented:
        bases = {one.__name__ for one in getattr(errors, name).__bases__}
        assert bases - {"Exception", "RemoteError"} == ({base} if base else set()), name
