"""Unsafe Rust stands only in the files that CONTRIBUTING.md lists, with what each needs it for."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECTION = re.compile(r"^## Unsafe code\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
ENTRY = re.compile(r"^- `([^`]+\.rs)`: \S", re.MULTILINE)
KEYWORD = re.compile(r"\bunsafe\b")

ADVICE = (
    "Use a safe function if there is one. Else add a line to the section 'Unsafe code' of CONTRIBUTING.md: "
    "- `path`: what the file needs unsafe for."
)


def listed():
    """Return the files that CONTRIBUTING.md lists."""
    return ENTRY.findall(SECTION.search((ROOT / "CONTRIBUTING.md").read_text())[1])


def is_test(path):
    return "tests" in path.relative_to(ROOT).parts


def has_unsafe(path):
    """Tell whether a file has the keyword outside of comments."""
    return KEYWORD.search(re.sub(r"//.*", "", path.read_text())) is not None


def test_every_file_with_unsafe_code_is_listed():
    found = [path for path in ROOT.glob("crates/**/*.rs") if not is_test(path) and has_unsafe(path)]
    unlisted = sorted({path.relative_to(ROOT).as_posix() for path in found} - set(listed()))
    assert unlisted == [], ADVICE


@pytest.mark.parametrize("path", listed())
def test_every_listed_file_has_unsafe_code(path):
    assert (ROOT / path).is_file(), "remove the line from CONTRIBUTING.md: the file is gone"
    assert has_unsafe(ROOT / path), "remove the line from CONTRIBUTING.md: the file has no unsafe code"


def test_no_file_is_listed_twice():
    assert len(listed()) == len(set(listed()))
