"""The headers of a stale page."""

from __future__ import annotations

import time

from django.http.response import HttpResponseBase
from django.utils.cache import patch_cache_control
from django.utils.http import http_date

# The directives that let a browser or proxy use a response for longer than its ``max-age``.
_LONGER = {"immutable", "max-age", "s-maxage", "stale-if-error", "stale-while-revalidate"}


def expire(page: HttpResponseBase) -> None:
    """Lets browsers and proxies ask again for a page before they use it."""
    # Only the directives of pages that are not stored have commas.
    directives = map(str.strip, page.get("Cache-Control", "").split(","))
    kept = [one for one in directives if one and one.partition("=")[0].lower() not in _LONGER]
    page["Cache-Control"] = ", ".join(kept)
    patch_cache_control(page, max_age=0)
    page["Expires"] = http_date(time.time())
