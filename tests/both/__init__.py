"""What LocalCache and SharedCache have in common: each test runs with both, unless marked `local_only`."""
