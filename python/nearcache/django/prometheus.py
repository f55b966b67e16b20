"""Metrics for prometheus_client; needs the extra ``nearcache[prometheus]``.

    from nearcache.django.prometheus import register

    register()  # once in each process, for example in AppConfig.ready()

- ``django_cache_get_total``, ``django_cache_get_hits_total`` and ``django_cache_get_misses_total`` are sums
  over all nearcache caches, with the label ``backend="nearcache"``. django-prometheus uses the same names, so
  its dashboards show them.
- ``nearcache_*`` are the numbers of ``stats()`` for each cache, with the alias as the label ``cache``.

The statistics are read when Prometheus scrapes; nothing is added to cache calls. The numbers of a LocalCache
and of a TieredCache are those of one process, so scrape every process. The numbers of a SharedCache are those
of the whole machine, in every process, but for those of its object cache. The multiprocess mode of
prometheus_client does not support collectors, so it has no metrics of nearcache.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec

from django.conf import settings

from nearcache import Stats
from nearcache.django.aliases import nearcache_caches
from nearcache.django.backend import Backend
from nearcache.django.remote_alias.methods import AliasMethods
from nearcache.django.shared import SharedCache
from nearcache.django.tiered import TieredCache

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ImportError(
        "nearcache.django.prometheus needs prometheus_client: pip install 'nearcache[prometheus]'"
    ) from error

__all__ = ["CacheCollector", "register"]

# The value of the label "backend" of django-prometheus.
_BACKEND = "nearcache"
# Name, help text, and the attributes of Stats that are added up.
_DJANGO_COUNTERS = (
    ("django_cache_get_total", "Total get requests on cache", ("hits", "misses")),
    ("django_cache_get_hits_total", "Total hits on cache", ("hits",)),
    ("django_cache_get_misses_total", "Total misses on cache", ("misses",)),
)
_COUNTERS = (
    ("nearcache_hits_total", "Reads that found an entry", "hits"),
    ("nearcache_misses_total", "Reads that found no entry", "misses"),
    ("nearcache_sets_total", "Values stored", "sets"),
    ("nearcache_deletes_total", "Entries deleted by a caller", "deletes"),
    ("nearcache_evictions_total", "Entries evicted because the cache was full", "evictions"),
    ("nearcache_expirations_total", "Entries removed because they had expired", "expirations"),
    ("nearcache_rejections_total", "Values rejected because they were too large", "rejections"),
    ("nearcache_flights_total", "Computations that get_or_set started", "flights"),
    ("nearcache_waits_total", "Calls of get_or_set that waited for another caller's value", "waits"),
    ("nearcache_expired_hits_total", "Values that get_or_set returned after they had expired", "stale_hits"),
    ("nearcache_refreshes_total", "Computations for keys that still had a value", "refreshes"),
    ("nearcache_failed_refreshes_total", "Such computations that failed", "failed_refreshes"),
    ("nearcache_time_saved_seconds_total", "Time that the hits would have taken to compute", "time_saved"),
    # Only for a SharedCache.
    ("nearcache_unreadable_total", "Values that were found but could not be decoded", "unreadable"),
    ("nearcache_recoveries_total", "Locks recovered from processes that died while writing", "recoveries"),
    ("nearcache_damages_total", "Inconsistencies found in the file", "damages"),
    ("nearcache_timeouts_total", "Calls that timed out waiting for the lock of another process", "timeouts"),
    ("nearcache_written_bytes_total", "Bytes written to store entries", "written"),
    ("nearcache_moved_bytes_total", "Bytes copied within the file to keep entries that are read", "moved"),
    ("nearcache_object_hits_total", "Reads served by this process's object cache", "object_hits"),
)
_GAUGES = (
    ("nearcache_entries", "Entries in the cache", "entries"),
    ("nearcache_max_entries", "Capacity in entries; absent if unlimited", "max_entries"),
    ("nearcache_memory_bytes", "Estimated memory used by the entries, in bytes", "memory"),
    ("nearcache_max_memory_bytes", "Capacity in bytes; absent if unlimited", "max_memory"),
    # Only for a SharedCache.
    ("nearcache_object_entries", "Values in this process's object cache", "object_entries"),
    ("nearcache_object_memory_bytes", "Estimated memory that they use, in bytes", "object_memory"),
)
# Only for a TieredCache: attributes of RemoteStats.
_REMOTE_COUNTERS = (
    ("nearcache_near_hits_total", "Reads served by a near copy", "near_hits"),
    ("nearcache_remote_hits_total", "Reads that the server had a value for", "remote_hits"),
    ("nearcache_remote_misses_total", "Reads that no tier had a value for", "remote_misses"),
    ("nearcache_stale_hits_total", "Reads served beyond the promise during an outage", "stale_hits"),
    ("nearcache_ignored_errors_total", "Operations that failed without an exception", "ignored_errors"),
    ("nearcache_fills_total", "Near copies stored", "fills"),
    ("nearcache_invalidations_total", "Invalidations received", "invalidations"),
    ("nearcache_flushes_total", "Reports that a server was flushed", "flushes"),
    ("nearcache_listener_losses_total", "Connections that the listener lost", "losses"),
    ("nearcache_requests_total", "Requests sent to the servers", "requests"),
    ("nearcache_errors_total", "Requests that failed", "errors"),
    ("nearcache_reconnects_total", "Connections opened again", "reconnects"),
    ("nearcache_breaker_trips_total", "Times that the circuit breaker opened", "breaker_trips"),
)
_REMOTE_GAUGES = (
    ("nearcache_epoch", "Raised whenever all near copies became invalid", "epoch"),
    ("nearcache_confirmation_age_seconds", "Age of the last confirmation by all servers", "confirmation_age"),
    ("nearcache_near_open", "1 if near copies may be served", "near_open"),
    ("nearcache_connections", "Connections to the servers", "connections"),
    ("nearcache_breaker_open", "1 if the circuit breaker is open", "breaker_open"),
)
# The label "reason", and the attribute of RemoteStats.
_REFUSALS = ("unarmed", "invalidated", "excluded", "large")


class CacheCollector(Collector):
    """Collects the statistics of all nearcache caches in ``CACHES``.

    Aliases that share their entries (one ``LOCATION``, one file) are reported once, under the first alias.
    """

    def __init__(self, shared: Sequence[Counter] = ()) -> None:
        """Creates a collector.

        ``shared`` are counters with the same names as metrics of this collector, which reports their samples,
        too.
        """
        self._shared = tuple(shared)
        namespace = getattr(settings, "PROMETHEUS_METRIC_NAMESPACE", "")
        self._prefix = f"{namespace}_" if namespace else ""

    def describe(self) -> Iterable[Metric]:
        """Returns the metrics without samples. Does not read ``CACHES``."""
        return self._metrics({})

    def collect(self) -> Iterable[Metric]:
        """Returns the metrics with their current values."""
        metrics = list(self._metrics(_stats_by_alias()))
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
        # A platform without TieredCache has no attribute `remote`.
        remotes = {alias: getattr(stats, "remote", None) for alias, stats in found.items()}
        tiers = {alias: remote for alias, remote in remotes.items() if remote is not None}
        yield from _by_cache(CounterMetricFamily, _COUNTERS, found)
        yield from _by_cache(GaugeMetricFamily, _GAUGES, found)
        yield from _by_cache(CounterMetricFamily, _REMOTE_COUNTERS, tiers)
        yield from _by_cache(GaugeMetricFamily, _REMOTE_GAUGES, tiers)
        refused = CounterMetricFamily(
            "nearcache_refused_fills_total", "Near copies not stored", labels=["cache", "reason"]
        )
        for alias, remote in tiers.items():
            for reason in _REFUSALS:
                refused.add_metric([alias, reason], getattr(remote, f"refused_{reason}"))
        yield refused


def _by_cache(
    family: type[CounterMetricFamily | GaugeMetricFamily],
    described: Iterable[tuple[str, str, str]],
    found: Mapping[str, object],
) -> Iterator[Metric]:
    """Returns metrics with the label ``cache``, for the attributes of the objects that are not None."""
    for name, text, field in described:
        metric = family(name, text, labels=["cache"])
        for alias, stats in found.items():
            value = getattr(stats, field)
            if value is not None:
                metric.add_metric([alias], value)
        yield metric


def register(registry: CollectorRegistry = REGISTRY) -> CacheCollector:
    """Registers a `CacheCollector` with a registry and returns it.

    If django-prometheus is installed and its counters of the same names are in the registry, the collector
    replaces them and reports their samples, too. Raises `ValueError` if the registry has another metric with
    one of the names, for example from an earlier call.
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
    """Returns the counters of django-prometheus, empty if it is not installed.

    Imports it, because it could not create its counters after the names are taken.
    """
    if find_spec("django_prometheus") is None:
        return []
    from django_prometheus.cache import metrics  # type: ignore[import-untyped]  # noqa: PLC0415 (optional)

    return [
        metrics.django_cache_get_total,
        metrics.django_cache_hits_total,
        metrics.django_cache_misses_total,
    ]


def _unregister(registry: CollectorRegistry, counter: Counter) -> bool:
    """Removes a counter from a registry; returns whether it was registered."""
    try:
        registry.unregister(counter)
    except KeyError:
        return False
    return True


def _stats_by_alias() -> dict[str, Stats]:
    """Returns the statistics of all nearcache caches, under the first alias of each file or ``LOCATION``."""
    aliases: dict[object, str] = {}
    caches = nearcache_caches()
    for alias, cache in caches.items():
        aliases.setdefault(_identity(cache, settings.CACHES[alias]), alias)
    return {alias: caches[alias].stats() for alias in aliases.values()}


def _identity(cache: Backend, configured: Mapping[str, object]) -> object:
    """Returns what aliases have in common if they share their statistics."""
    if isinstance(cache, SharedCache):
        return cache.path
    if isinstance(cache, AliasMethods):
        return "near tier", cache.near_location
    if isinstance(cache, TieredCache):
        # Its near tier and its connections depend on nearly all settings. LOCATION may be a list.
        return repr(sorted(configured.items()))
    return configured.get("LOCATION", "")
