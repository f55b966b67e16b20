"""`cache_page`: Django's decorator of the same name, with single flight and stale pages.

- ``decorator.py``: the decorator.
- ``options.py``: the options that Django's decorator does not have.
- ``rules.py``: finds and stores pages by the rules of Django's ``CacheMiddleware``, whose methods it calls.
- ``page_writer.py``: what those methods store pages in: a cache that adds the time for which a page is fresh.
- ``freshness.py``: until when a stored page is fresh, and whether to render it early.
- ``flow.py``: what happens to a request, as generators for synchronous and asynchronous views.
- ``rendering.py``: what a leader does with the response of its view, or with the exception.
- ``flights.py``: the flights of pages.

**Invariants.**

- Only Django's code decides whether a response is stored, and under which key. A waiter never gets the
  leader's response: it looks the page up under the key of its own request. So a response that Django does
  not store reaches only the request that it was made for, and so does one that varies.
- A flight of which nothing was stored makes all its waiters render at once. None of them leads another
  flight, so they never render one after the other.
- A flight ends however its leader ends: when it returns, raises, is cancelled, or drops a response that is
  still to be rendered.
"""

from nearcache.django.pages.decorator import cache_page

__all__ = ["cache_page"]
