"""Keys that a cache may refuse, and the digests that replace them.

Django warns of keys of more than 250 characters, and of white space and control characters in them, because
memcached refuses them. A hashed key ends with `MARK` and a digest. No other key does: those that look like it
are hashed, too. So nobody who chooses an argument can make its key that of another argument.
"""

from __future__ import annotations

import re
from hashlib import blake2b

# Django's limit is 250, for the key together with the cache's KEY_PREFIX and the version.
MAX_LENGTH = 200
MARK = "#"
DIGEST_BYTES = 20
MAX_READABLE = 60
_REFUSED = re.compile(r"[^!-~]+")


def hashed(key: str) -> str:
    """Returns a key of printable ASCII characters: the beginning of the given one, and a digest of it."""
    digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).hexdigest()
    return f"{_REFUSED.sub('_', key[:MAX_READABLE])}{MARK}{digest}"


def looks_hashed(key: str) -> bool:
    """Returns whether a key has the form of those that `hashed` returns."""
    return key[-2 * DIGEST_BYTES - 1 :].startswith(MARK)
