"""A `TieredCache` whose remote tier is another Django cache (``OPTIONS["REMOTE"]``).

The remote cache makes the keys, and has the entries. The near tier is a `LocalCache` or `SharedCache` whose
keys are the stored keys of the remote cache. Nobody reports the writes of other processes, so a copy is
bounded by ``NEAR_TTL`` alone.

A write of this process deletes the copy before and after it, and changes a number in `near.Stamps`. A read
that was sent before the write keeps no copy, because the number has changed. So threads of a process do not
find a copy of what they have overwritten.

- `options`: the settings
- `near`: the near copies
- `remote_calls`: what happens around every call of the remote cache: ``ON_ERROR``, and deleting copies
- `base`: opening the cache, and finding the methods of the remote cache
- `reads`, `writes`, `forwarded`: the methods; `methods` joins them
"""
