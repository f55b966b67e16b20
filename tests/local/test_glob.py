"""Glob patterns match as in Redis, by characters."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from support import redis_glob

# Every character that means something in a pattern, and some of each length in UTF-8, which has not the last.
ALPHABET = "ab-]^[*?\\é€😀\udc80"
texts = st.text(ALPHABET, max_size=8)
patterns = st.text(ALPHABET, max_size=10) | st.text("a*?[]", max_size=10)

FITTING = [
    ("*", ["", "a", "é*", "a:b"]),
    ("", [""]),
    ("a", ["a"]),
    ("a*", ["a", "ab", "a*"]),
    ("*a", ["a", "ba", "aa", "aba"]),
    ("a*b*c", ["abc", "aXbXc", "abbcc", "abcbc"]),
    ("?", ["a", "é", "€", "😀", "\udc80", "?"]),
    ("??", ["ab", "😀é"]),
    ("[abc]", ["a", "b", "c"]),
    ("[a-c]", ["a", "b", "c"]),
    ("[c-a]", ["a", "b", "c"]),
    ("[à-ü]", ["é", "ö"]),
    ("[^a]", ["b", "é", "^", "😀"]),
    ("[^a-c]", ["d", "A"]),
    ("[a^]", ["a", "^"]),
    ("[*]", ["*"]),
    ("[?]", ["?"]),
    ("[[]", ["["]),
    ("[\\]]", ["]"]),
    ("[\\^a]", ["^", "a"]),
    ("[^^]", ["a"]),
    ("[^]", ["a", "]"]),
    ("\\*", ["*"]),
    ("\\?", ["?"]),
    ("\\[a]", ["[a]"]),
    ("\\\\", ["\\"]),
    ("\\a", ["a"]),
    ("a\\", ["a\\"]),
    ("]", ["]"]),
    ("-", ["-"]),
    ("[abc", ["a", "b", "c"]),
    ("[^abc", ["d"]),
    ("[a-", ["a", "-"]),
    ("[a-]", ["]", "^", "_", "`", "a"]),
    ("[\\", ["\\"]),
    ("[^", ["a", "^"]),
    ("x[a-c]*\\?", ["xa?", "xcabc?"]),
]
NOT_FITTING = [
    ("", ["a"]),
    ("a", ["", "b", "aa", "A"]),
    ("a*", ["", "ba"]),
    ("*a", ["", "ab"]),
    ("a*b*c", ["ac", "acb", "abcx"]),
    ("?", ["", "ab"]),
    ("[abc]", ["", "d", "ab", "[abc]"]),
    ("[]", ["", "[]", "]", "a"]),
    ("[]a]", ["]", "a", "a]"]),
    ("[^a]", ["a", ""]),
    ("[^]", ["", "^]"]),
    ("[", ["[", "", "a"]),
    ("\\*", ["a", "\\*"]),
    ("a\\", ["a"]),
]


def fits(cache, pattern, text):
    """Tell whether a pattern stands for a key, as keys() has it."""
    cache.clear()
    cache.set(text, 1)
    found = cache.keys(pattern)
    assert found in ([], [text])
    return bool(found)


def each(table):
    cases = [(pattern, text) for pattern, matching in table for text in matching]
    return pytest.mark.parametrize(
        ("pattern", "text"), cases, ids=[f"{pattern!a} {text!a}" for pattern, text in cases]
    )


class TestPattern:
    @each(FITTING)
    def test_matches(self, cache, pattern, text):
        assert fits(cache, pattern, text)
        assert redis_glob.matches(pattern, text)

    @each(NOT_FITTING)
    def test_does_not_match(self, cache, pattern, text):
        assert not fits(cache, pattern, text)
        assert not redis_glob.matches(pattern, text)

    @settings(max_examples=3000)
    @given(patterns, texts)
    @example("*a*b*[^-]*", "aabb-")
    @example("[a-]b]", "]b]")
    def test_matches_as_in_redis(self, cache, pattern, text):
        assert fits(cache, pattern, text) == redis_glob.matches(pattern, text)

    @given(texts)
    def test_escaped_text_matches_itself(self, cache, text):
        assert fits(cache, "".join(f"\\{character}" for character in text), text)

    def test_many_stars_are_matched_quickly(self, cache):
        """The oracle would take more steps than there are atoms."""
        text = "a" * 240
        assert not fits(cache, "*a" * 120 + "b", text)
        assert fits(cache, "*a" * 120, text)

    def test_may_be_long(self, cache):
        assert not fits(cache, "[" * 1_000_000, "a")
        assert not fits(cache, "?" * 1_000_000, "a")
        assert fits(cache, "*" * 1_000_000, "a")
