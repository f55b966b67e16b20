"""Locations of caches."""

import itertools

_numbers = itertools.count(1)


def new_location():
    """Return a name that no other store has."""
    return f"test-{next(_numbers)}"
