"""Metrics of our caches for prometheus_client, with the extra ``nearcache[prometheus]``.

    from nearcache.django.prometheus import register

    register()  # once in a process, as in an AppConfig's ready()

- ``django_cache_get_total``, ``django_cache_get_hits_total``, ``django_cache_get_misses_total``: named as by
  django-prometheus, with the label ``backend="nearcache"`` for all of ours together, for its dashboards.
- ``nearcache_...``, by ``cache``, which is the alias: what ``stats()`` counts.

They cost nothing until they are asked for. A LocalCache is one process's, and so are its numbers: each
process has to be asked. A SharedCache's are the whole machine's, whichever process is asked.
prometheus_client's multiprocess mode, which adds up files, knows no collectors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec

from django.conf import settings

from nearcache import Stats
from nearcache.django.aliases import nearcache_caches
from nearcache.django.shared import SharedCache

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ImportError(
        "nearcache.django.prometheus needs prometheus_client: pip install 'nearcache[prometheus]'"
    ) from error

__all__ = ["CacheCollector", "register"]

# As django-prometheus calls a kind of backend.
_BACKEND = "nearcache"
# A name, what it is, and what of the statistics it adds up.
_DJANGO_COUNTERS = (
    ("django_cache_get_total", "Total get requests on cache", ("hits", "misses")),
    ("django_cache_get_hits_total", "Total hits on cache", ("hits",)),
    ("django_cache_get_misses_total", "Total misses on cache", ("misses",)),
)
_COUNTERS = (
    ("nearcache_hits_total", "Reads that found a value", "hits"),
    ("nearcache_misses_total", "Reads that found none", "misses"),
    ("nearcache_sets_total", "Values stored", "sets"),
    ("nearcache_deletes_total", "Live entries removed by a caller", "deletes"),
    ("nearcache_evictions_total", "Live entries dropped for want of room", "evictions"),
    ("nearcache_expirations_total", "Entries dropped because their time was over", "expirations"),
    ("nearcache_rejections_total", "Values too large to be stored", "rejections"),
    # Those of a SharedCache alone.
    ("nearcache_unreadable_total", "Values that were found and could not be read", "unreadable"),
    ("nearcache_recoveries_total", "Locks taken over from processes that died amid a write", "recoveries"),
    ("nearcache_damages_total", "Times that something in the file was found damaged", "damages"),
    ("nearcache_timeouts_total", "Times that another process's lock was waited for in vain", "timeouts"),
    ("nearcache_written_bytes_total", "Bytes written to store values", "written"),
    ("nearcache_moved_bytes_total", "Bytes copied within the file to keep what is asked for", "moved"),
)
_GAUGES = (
    ("nearcache_entries", "Entries held", "entries"),
    ("nearcache_max_entries", "Entries there may be; absent for no bound", "max_entries"),
    ("nearcache_memory_bytes", "Memory the entries are reckoned to take", "memory"),
    ("nearcache_max_memory_bytes", "Memory the entries may take; absent for no bound", "max_memory"),
)


class CacheCollector(Collector):
    """Reads the statistics of every cache of ours in ``CACHES``.

    Aliases of one store, or of one file, are one: it is told of once, by the first of them.
    """

    def __init__(self, shared: Sequence[Counter] = ()) -> None:
        """Take the counters whose names ours have, too: what they count is told together with ours."""
        self._shared = tuple(shared)
        namespace = getattr(settings, "PROMETHEUS_METRIC_NAMESPACE", "")
        self._prefix = f"{namespace}_" if namespace else ""

    def describe(self) -> Iterable[Metric]:
        """Return the metrics without their numbers. ``CACHES`` is not looked at."""
        return self._metrics({})

    def collect(self) -> Iterable[Metric]:
        """Return the metrics as they are now."""
        metrics = list(self._metrics(_stores()))
        shared = {metric.name: metric for counter in self._shared for metric in counter.collect()}
        for metric in metrics:
            if metric.name in shared:
                metric.samples.extend(shared[metric.name].samples)
        return metrics

    def _metrics(self, found: dict[str, Stats]) -> Iterator[Metric]:
        for name, text, fields in _DJANGO_COUNTERS:
            counter = CounterMetricFamily(self._prefix + name, text, labels=["backend"])
            if found:
                total = sum(getattr(stats, field) for stats in found.values() for field in fields)
                counter.add_metric([_BACKEND], total)
            yield counter
        for family, described in ((CounterMetricFamily, _COUNTERS), (GaugeMetricFamily, _GAUGES)):
            for name, text, field in described:
                metric = family(name, text, labels=["cache"])
                for alias, stats in found.items():
                    value = getattr(stats, field)
                    if value is not None:
                        metric.add_metric([alias], value)
                yield metric


def register(registry: CollectorRegistry = REGISTRY) -> CacheCollector:
    """Let a registry tell of our caches, too; return what it asks.

    If django-prometheus is installed and counts there under the same names for other caches, both are told
    together. Raises `ValueError` if the registry has such names from elsewhere, as from an earlier call.
    """
    shared = [counter for counter in _django_prometheus_counters() if _unregister(registry, counter)]
    collector = CacheCollector(shared)
    try:
        registry.register(collector)
    except ValueError:
        for counter in shared:
            registry.register(counter)
        raise
    return collector


def _django_prometheus_counters() -> list[Counter]:
    """Let django-prometheus make its counters now, if it is there: later it would find the names taken."""
    if find_spec("django_prometheus") is None:
        return []
    from django_prometheus.cache import metrics  # type: ignore[import-untyped]  # noqa: PLC0415 (optional)

    return [
        metrics.django_cache_get_total,
        metrics.django_cache_hits_total,
        metrics.django_cache_misses_total,
    ]


def _unregister(registry: CollectorRegistry, counter: Counter) -> bool:
    """Take a counter out of a registry; return whether it was there."""
    try:
        registry.unregister(counter)
    except KeyError:
        return False
    return True


def _stores() -> dict[str, Stats]:
    """Return the statistics of each store by the first alias that has it."""
    aliases: dict[object, str] = {}
    ours = nearcache_caches()
    for alias, cache in ours.items():
        one = cache.path if isinstance(cache, SharedCache) else settings.CACHES[alias].get("LOCATION", "")
        aliases.setdefault(one, alias)
    return {alias: ours[alias].stats() for alias in aliases.values()}
