"""Until when a stored page is fresh, and whether to render it before that time.

A page that may be handed out stale stays in the cache for its timeout and the stale time together. The page
itself says until when it is fresh: an attribute of the response, which is stored with it. A hit therefore
reads no more than Django's, and pages can be stored in any form that a cache stores responses in.
"""

from __future__ import annotations

import math
import random
import time
from typing import NamedTuple

from django.http.response import HttpResponseBase

# The attribute of a stored response.
_ATTRIBUTE = "_nearcache_freshness"


class Freshness(NamedTuple):
    """When a page stops being fresh, in Unix seconds, and for how many seconds it was rendered."""

    until: float
    rendered_in: float

    def is_over(self) -> bool:
        """Returns whether the page is stale."""
        return self.until <= time.time()

    def is_due(self, early: float) -> bool:
        """Returns whether to render the page again: it is stale, or chosen at random (XFetch)."""
        # From Vattani, Chierichetti and Lowenstein: Optimal Probabilistic Cache Stampede Prevention, VLDB
        # 2015. `1 - random()` is never 0.
        ahead = -self.rendered_in * early * math.log(1 - random.random()) if early else 0
        return self.until <= time.time() + ahead


def mark(page: HttpResponseBase, timeout: float, rendered_in: float) -> None:
    """Notes in a page that it is fresh for a number of seconds from now."""
    tagged = Freshness(time.time() + timeout, rendered_in)
    setattr(page, _ATTRIBUTE, tuple(tagged))


def freshness(page: HttpResponseBase) -> Freshness | None:
    """Returns the freshness of a page, or None if it was stored without one, and is fresh."""
    stored = getattr(page, _ATTRIBUTE, None)
    return None if stored is None else Freshness(*stored)


def is_due(page: HttpResponseBase, early: float) -> bool:
    """Returns whether to render a stored page again."""
    fresh = freshness(page)
    return fresh is not None and fresh.is_due(early)
