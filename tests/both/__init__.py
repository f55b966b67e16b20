"""Tests of what all backends have in common: run with each, unless marked `local_only` or `memory_only`."""
