"""Counts what the site does, from outside of the cache backends, so that all of them are counted alike."""
