//! What a cache counts, for Python.

#[cfg(shared)]
use std::time::Duration;

use nearcache::local::{Capacity, Store};
#[cfg(shared)]
use nearcache::{Clock, SystemClock, shared::SharedStats};
use pyo3::prelude::*;

use crate::values::Stored;

/// Counts since the store was made (of this process, or of all that share the file) or its statistics were reset, what it holds now, and how much it may.
///
/// Two are equal if they say the same, whatever their age.
#[pyclass(frozen, get_all, eq, module = "nearcache._core")]
#[derive(Clone)]
pub(crate) struct Stats {
    /// Reads that found a value.
    hits: u64,
    /// Reads that did not.
    misses: u64,
    /// Hits among all reads, from 0 to 1; None before the first.
    hit_ratio: Option<f64>,
    /// Values stored.
    sets: u64,
    /// Live entries removed by a caller.
    deletes: u64,
    /// Live entries dropped for want of room.
    evictions: u64,
    /// Entries dropped because their time was over.
    expirations: u64,
    /// Values too large to be stored.
    rejections: u64,
    /// Entries held now.
    entries: u64,
    /// Bytes they are reckoned to take, keys and bookkeeping included.
    memory: u64,
    /// How many entries there may be; None for no bound.
    max_entries: Option<u64>,
    /// How many bytes they may take; None for no bound.
    max_memory: Option<u64>,
    /// For how many seconds this has been counted.
    age: f64,
    /// Values that were found but could not be read here, which count as misses; None in a `LocalCache`, as all below.
    unreadable: Option<u64>,
    /// Locks taken over from processes that died in the midst of a write.
    recoveries: Option<u64>,
    /// Times that something in the file was found damaged.
    damages: Option<u64>,
    /// Times that another process's lock was waited for in vain.
    timeouts: Option<u64>,
    /// Bytes that were written to store values.
    written: Option<u64>,
    /// Bytes that were copied within the file to keep what will be asked for.
    moved: Option<u64>,
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
            ]
        };
        counts(self) == counts(other) && optional(self) == optional(other)
    }
}

#[pymethods]
impl Stats {
    fn __repr__(&self) -> String {
        let ratio = self
            .hit_ratio
            .map_or_else(|| "None".to_owned(), |ratio| format!("{ratio:.4}"));
        let whole =
            |number: Option<u64>| number.map_or_else(|| "None".to_owned(), |number| number.to_string());
        let told = |name, number: Option<u64>| number.map(|number| format!(", {name}={number}"));
        let of_shared = [
            told("unreadable", self.unreadable),
            told("recoveries", self.recoveries),
            told("damages", self.damages),
            told("timeouts", self.timeouts),
            told("written", self.written),
            told("moved", self.moved),
        ];
        format!(
            "Stats(hits={}, misses={}, hit_ratio={ratio}, sets={}, deletes={}, evictions={}, expirations={}, \
             rejections={}, entries={}, memory={}, max_entries={}, max_memory={}, age={:.3}{})",
            self.hits,
            self.misses,
            self.sets,
            self.deletes,
            self.evictions,
            self.expirations,
            self.rejections,
            self.entries,
            self.memory,
            whole(self.max_entries),
            whole(self.max_memory),
            self.age,
            of_shared.into_iter().flatten().collect::<String>(),
        )
    }
}

impl Stats {
    /// What a store of this process says of itself to a handle of this capacity.
    pub(crate) fn of_local(store: &Store<Stored>, capacity: &Capacity) -> Self {
        let bound = |most: u64| (most != u64::MAX).then_some(most);
        Self {
            max_entries: bound(capacity.max_entries),
            max_memory: bound(capacity.max_weight),
            age: store.age().as_secs_f64(),
            ..Self::counted(&store.stats())
        }
    }

    /// What all processes that share a file counted.
    #[cfg(shared)]
    pub(crate) fn of_shared(stats: &SharedStats) -> Self {
        let age = SystemClock
            .now()
            .as_unix_micros()
            .saturating_sub(stats.since.as_unix_micros());
        Self {
            max_memory: Some(stats.capacity_bytes),
            age: Duration::from_micros(u64::try_from(age).unwrap_or_default()).as_secs_f64(),
            unreadable: Some(stats.unreadable),
            recoveries: Some(stats.recoveries),
            damages: Some(stats.damages),
            timeouts: Some(stats.timeouts),
            written: Some(stats.written_bytes),
            moved: Some(stats.moved_bytes),
            ..Self::counted(&stats.counts)
        }
    }

    fn counted(counts: &nearcache::Stats) -> Self {
        Self {
            hits: counts.hits,
            misses: counts.misses,
            hit_ratio: counts.hit_ratio(),
            sets: counts.insertions,
            deletes: counts.removals,
            evictions: counts.evictions,
            expirations: counts.expirations,
            rejections: counts.rejections,
            entries: counts.entries,
            memory: counts.weight,
            max_entries: None,
            max_memory: None,
            age: 0.0,
            unreadable: None,
            recoveries: None,
            damages: None,
            timeouts: None,
            written: None,
            moved: None,
        }
    }
}
