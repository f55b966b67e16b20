"""`make compare`: one set of operations, timed on Django's cache backends and on other Python caches."""
