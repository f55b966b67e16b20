"""Caches in front of the tests' servers."""

from pathlib import Path

from nearcache.django import TieredCache


def tiered(url, **settings):
    """Return a new cache on a server. Settings that Django does not know go into OPTIONS."""
    names = {"TIMEOUT", "KEY_PREFIX", "VERSION", "KEY_FUNCTION"}
    params = {name: value for name, value in settings.items() if name in names}
    options = {name: value for name, value in settings.items() if name not in names}
    return TieredCache(url, {**params, "OPTIONS": options})


def cluster_url(cluster):
    """Return the URL of a `Cluster`."""
    return cluster.url.replace("redis://", "redis+cluster://")


def sentinel_url(sentinels):
    """Return the URL of the primary that `Sentinels` name."""
    hosts = ",".join(f"{host}:{port}" for host, port in sentinels.sentinel_addresses)
    return f"redis+sentinel://{hosts}/{sentinels.name}/0"


def descriptors():
    """Return how many file descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))
