"""Tests of what LocalCache and SharedCache have in common, run with both unless marked `local_only`."""
