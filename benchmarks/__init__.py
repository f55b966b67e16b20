"""Benchmarks: `compare` times operations beside other caches, `overhead` measures what surrounds them."""
