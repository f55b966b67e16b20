"""A simple, slow implementation of Redis's glob patterns, which ours are compared with."""


def matches(pattern, text):
    """Tell whether a pattern matches a whole text. Exponential in the number of stars."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(matches(pattern[1:], text[taken:]) for taken in range(len(text) + 1))
    if not text:
        return False
    if pattern[0] == "[":
        fits, rest = _class(pattern[1:], text[0])
        return fits and matches(rest, text[1:])
    if pattern[0] == "\\" and len(pattern) > 1:
        return pattern[1] == text[0] and matches(pattern[2:], text[1:])
    return pattern[0] in ("?", text[0]) and matches(pattern[1:], text[1:])


def _class(pattern, character):
    """Tell whether a character is in the class at a pattern's start; return the rest of the pattern too."""
    negated = pattern.startswith("^")
    pattern = pattern[negated:]
    found = False
    while pattern and pattern[0] != "]":
        if pattern[0] == "\\" and len(pattern) > 1:
            found |= pattern[1] == character
            pattern = pattern[2:]
        elif len(pattern) > 2 and pattern[1] == "-":
            found |= min(pattern[0], pattern[2]) <= character <= max(pattern[0], pattern[2])
            pattern = pattern[3:]
        else:
            found |= pattern[0] == character
            pattern = pattern[1:]
    return found != negated, pattern[1:]
