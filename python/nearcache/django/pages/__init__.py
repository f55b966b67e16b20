"""`cache_page`: Django's decorator of the same name, with single flight and stale pages.

- ``decorator.py``: the decorator. `nearcache.django.middleware` has the middleware.
- ``rules.py``: finds and stores pages by the rules of Django's ``CacheMiddleware``, whose methods it calls.
- ``expire.py``: the headers of a stale page.
- ``page_access.py``: what those methods read pages from and store them in.
- ``page_flight.py``: the flight of a page, or of a URL while its pages are unknown.
- ``flow.py``: what happens to a request for which there is no page, as generators of `effects`.
- ``rendering.py``: what a leader does with the response of its view, or with the exception.

**Invariants.**

- Only Django's code decides whether a response is stored, and under which key. A waiter gets the leader's
  response only if it was stored under the key of the waiter's own request. So a response that Django does not
  store reaches only the request that it was made for, and so does one that varies.
- If nothing was stored in a flight, all its waiters render at once. None of them leads another flight, so
  they never render one after the other. Those in other processes find a note.
- A task uses a cache that may wait for a server only in a thread.
- A flight ends however its leader ends: when it returns or raises. If it is cancelled, or drops a response
  that is still to be rendered, a waiter leads.
"""

from nearcache.django.pages.decorator import cache_page

__all__ = ["cache_page"]
