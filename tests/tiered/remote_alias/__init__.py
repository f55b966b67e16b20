"""A TieredCache whose remote tier is another cache of CACHES (``OPTIONS["REMOTE"]``)."""
