//! The statistics of a store, as Python sees them.

use std::sync::atomic::Ordering::Relaxed;
#[cfg(shared)]
use std::time::Duration;

use nearcache::local::{Capacity, RawCache};
#[cfg(shared)]
use nearcache::{Clock, SystemClock, shared::SharedStats};
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::flights::FlightCounts;
#[cfg(unix)]
use super::flights::ProcessFlights;
#[cfg(unix)]
use super::remote_stats::RemoteStats;
use crate::memory::format;
use crate::objects::{Count, Float, text};

#[cfg(shared)]
/// What the object cache of a file holds in this process, and how many reads it served.
#[derive(Clone, Copy, Default)]
pub(crate) struct ObjectCounts {
    pub(crate) hits: u64,
    pub(crate) entries: u64,
    pub(crate) weight: u64,
}

/// The statistics of a store: counts since it was created or they were reset, its contents now, and its limits.
///
/// A ``LocalCache`` counts in this process, a ``SharedCache`` in all processes that use the file. Two are equal if they
/// differ in nothing but `age` and `time_saved`.
#[pyclass(frozen, get_all, eq, module = "nearcache._core")]
#[derive(Clone)]
pub(crate) struct Stats {
    /// Reads that found a value.
    hits: Count,
    /// Reads that found none.
    misses: Count,
    /// Hits divided by all reads, from 0 to 1; None before the first read.
    hit_ratio: Option<Float>,
    /// Writes that stored a value.
    sets: Count,
    /// Live entries that a caller deleted.
    deletes: Count,
    /// Live entries evicted to make room.
    evictions: Count,
    /// Entries removed because they had expired.
    expirations: Count,
    /// Writes that were rejected because the value was too large.
    rejections: Count,
    /// Entries in the store now.
    entries: Count,
    /// Bytes of memory that the entries take, by estimate, with their keys and the cache's own data.
    memory: Count,
    /// The largest number of entries; None for no limit.
    max_entries: Option<Count>,
    /// The largest number of bytes; None for no limit.
    max_memory: Option<Count>,
    /// Seconds since the counts were 0.
    age: Float,
    /// Computations that ``get_or_set`` began.
    flights: Count,
    /// Calls of ``get_or_set`` that waited for another caller's computation. They are misses, too.
    waits: Count,
    /// Values that ``get_or_set`` returned after they had expired, while the new ones were computed or because that failed.
    /// They are misses, too.
    stale_hits: Count,
    /// Values that were computed again while there was an old one.
    refreshes: Count,
    /// Refreshes that failed, so that the old value was kept.
    failed_refreshes: Count,
    /// Seconds of computing that the hits have saved: the sum of the times that ``get_or_set`` measured.
    time_saved: Float,
    /// Reads that found a value which the process could not decode. They count as misses. None in a ``LocalCache``, as all
    /// below.
    unreadable: Option<Count>,
    /// Locks taken over from processes that died during a write.
    recoveries: Option<Count>,
    /// How often damage was found in the file.
    damages: Option<Count>,
    /// How often waiting for another process's lock timed out.
    timeouts: Option<Count>,
    /// Bytes written to store values.
    written: Option<Count>,
    /// Bytes copied within the file to keep entries that are in use.
    moved: Option<Count>,
    /// Reads of this process that took the decoded value from its object cache. They are hits, too.
    object_hits: Option<Count>,
    /// Values in this process's object cache.
    object_entries: Option<Count>,
    /// Bytes of memory that they take, by estimate.
    object_memory: Option<Count>,
    /// The counts of the two tiers of a ``TieredCache``; None for the other caches.
    #[cfg(unix)]
    pub(super) remote: Option<Py<RemoteStats>>,
}

impl PartialEq for Stats {
    fn eq(&self, other: &Self) -> bool {
        let counts = |stats: &Self| {
            [
                stats.hits,
                stats.misses,
                stats.sets,
                stats.deletes,
                stats.evictions,
                stats.expirations,
                stats.rejections,
                stats.entries,
                stats.memory,
                stats.flights,
                stats.waits,
                stats.stale_hits,
                stats.refreshes,
                stats.failed_refreshes,
            ]
        };
        let optional = |stats: &Self| {
            [
                stats.max_entries,
                stats.max_memory,
                stats.unreadable,
                stats.recoveries,
                stats.damages,
                stats.timeouts,
                stats.written,
                stats.moved,
                stats.object_hits,
                stats.object_entries,
                stats.object_memory,
            ]
        };
        counts(self) == counts(other) && optional(self) == optional(other)
    }
}

#[pymethods]
impl Stats {
    fn __repr__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        text(py, &self.line()?)
    }
}

impl Stats {
    /// Formats all statistics in one line.
    fn line(&self) -> PyResult<String> {
        let ratio = match self.hit_ratio {
            Some(Float(ratio)) => format(format_args!("{ratio:.4}"))?,
            None => format(format_args!("None"))?,
        };
        let whole = |number: Option<Count>| match number {
            Some(Count(number)) => format(format_args!("{number}")),
            None => format(format_args!("None")),
        };
        let mut of_shared = String::new();
        for (name, number) in [
            ("unreadable", self.unreadable),
            ("recoveries", self.recoveries),
            ("damages", self.damages),
            ("timeouts", self.timeouts),
            ("written", self.written),
            ("moved", self.moved),
            ("object_hits", self.object_hits),
            ("object_entries", self.object_entries),
            ("object_memory", self.object_memory),
        ] {
            if let Some(Count(number)) = number {
                of_shared = format(format_args!("{of_shared}, {name}={number}"))?;
            }
        }
        format(format_args!(
            "Stats(hits={}, misses={}, hit_ratio={ratio}, sets={}, deletes={}, evictions={}, expirations={}, \
             rejections={}, flights={}, waits={}, stale_hits={}, refreshes={}, failed_refreshes={}, time_saved={:.3}, \
             entries={}, memory={}, max_entries={}, max_memory={}, age={:.3}{})",
            self.hits.0,
            self.misses.0,
            self.sets.0,
            self.deletes.0,
            self.evictions.0,
            self.expirations.0,
            self.rejections.0,
            self.flights.0,
            self.waits.0,
            self.stale_hits.0,
            self.refreshes.0,
            self.failed_refreshes.0,
            self.time_saved.0,
            self.entries.0,
            self.memory.0,
            whole(self.max_entries)?,
            whole(self.max_memory)?,
            self.age.0,
            of_shared,
        ))
    }

    /// Returns the statistics of a store of this process, with the limits of a backend instance.
    pub(crate) fn of_local<V>(store: &RawCache<V>, capacity: &Capacity) -> Self {
        let bound = |most: u64| (most != u64::MAX).then_some(Count(most));
        Self {
            max_entries: bound(capacity.max_entries),
            max_memory: bound(capacity.max_weight),
            age: Float(store.age().as_secs_f64()),
            ..Self::of_counts(&store.stats())
        }
    }

    /// Returns the same with the counts of a store whose flights are in a table of their own.
    #[cfg(unix)]
    pub(super) fn with_process_flights(self, table: &ProcessFlights) -> Self {
        Self {
            flights: Count(table.counts.flights.load(Relaxed)),
            waits: Count(table.counts.waits.load(Relaxed)),
            ..self.with_flights(&table.counts)
        }
    }

    /// Returns the same with the counts that the engine does not keep.
    pub(super) fn with_flights(self, counts: &FlightCounts) -> Self {
        Self {
            stale_hits: Count(counts.stale_hits.load(Relaxed)),
            refreshes: Count(counts.refreshes.load(Relaxed)),
            failed_refreshes: Count(counts.failed_refreshes.load(Relaxed)),
            time_saved: Float(counts.saved_seconds()),
            ..self
        }
    }

    /// Returns the statistics of a file, from all processes that use it, and of this process's object cache.
    #[cfg(shared)]
    pub(crate) fn of_shared(stats: &SharedStats, objects: &ObjectCounts) -> Self {
        let age = SystemClock
            .now()
            .as_unix_micros()
            .saturating_sub(stats.since.as_unix_micros());
        Self {
            max_memory: Some(Count(stats.capacity_bytes)),
            stale_hits: Count(stats.stale_hits),
            refreshes: Count(stats.refreshes),
            failed_refreshes: Count(stats.failed_refreshes),
            time_saved: Float(stats.saved.as_secs_f64()),
            age: Float(Duration::from_micros(u64::try_from(age).unwrap_or_default()).as_secs_f64()),
            unreadable: Some(Count(stats.unreadable)),
            recoveries: Some(Count(stats.recoveries)),
            damages: Some(Count(stats.damages)),
            timeouts: Some(Count(stats.timeouts)),
            written: Some(Count(stats.written_bytes)),
            moved: Some(Count(stats.moved_bytes)),
            object_hits: Some(Count(objects.hits)),
            object_entries: Some(Count(objects.entries)),
            object_memory: Some(Count(objects.weight)),
            ..Self::of_counts(&stats.counts)
        }
    }

    /// Returns the statistics of a store without entries of its own.
    #[cfg(unix)]
    pub(super) fn empty() -> Self {
        Self::of_counts(&nearcache::Stats::default())
    }

    /// Replaces the counts of reads.
    #[cfg(unix)]
    pub(super) fn set_reads(&mut self, hits: u64, misses: u64) {
        let reads = hits + misses;
        self.hits = Count(hits);
        self.misses = Count(misses);
        #[allow(clippy::cast_precision_loss)] // a ratio
        let ratio = || Float(hits as f64 / reads as f64);
        self.hit_ratio = (reads > 0).then(ratio);
    }

    /// Replaces the counts of writes.
    #[cfg(unix)]
    pub(super) fn set_writes(&mut self, sets: u64, deletes: u64) {
        self.sets = Count(sets);
        self.deletes = Count(deletes);
    }

    fn of_counts(counts: &nearcache::Stats) -> Self {
        Self {
            hits: Count(counts.hits),
            misses: Count(counts.misses),
            hit_ratio: counts.hit_ratio().map(Float),
            sets: Count(counts.insertions),
            deletes: Count(counts.removals),
            evictions: Count(counts.evictions),
            expirations: Count(counts.expirations),
            rejections: Count(counts.rejections),
            entries: Count(counts.entries),
            memory: Count(counts.weight),
            max_entries: None,
            max_memory: None,
            age: Float(0.0),
            flights: Count(counts.flights),
            waits: Count(counts.waits),
            stale_hits: Count(0),
            refreshes: Count(0),
            failed_refreshes: Count(0),
            time_saved: Float(0.0),
            unreadable: None,
            recoveries: None,
            damages: None,
            timeouts: None,
            written: None,
            moved: None,
            object_hits: None,
            object_entries: None,
            object_memory: None,
            #[cfg(unix)]
            remote: None,
        }
    }
}
