"""Counts requests, queries, hits and misses of the site, in the same way for all cache backends."""
