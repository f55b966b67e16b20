//! What a cache counts, for Python.

use nearcache::local::Capacity;
use pyo3::prelude::*;

use crate::stores::LocalStore;

/// Counts since the store was made (in this process) or its statistics were reset, what it holds now, and how much it may.
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
        let bounds = |stats: &Self| [stats.max_entries, stats.max_memory];
        counts(self) == counts(other) && bounds(self) == bounds(other)
    }
}

#[pymethods]
impl Stats {
    fn __repr__(&self) -> String {
        let ratio = self
            .hit_ratio
            .map_or_else(|| "None".to_owned(), |ratio| format!("{ratio:.4}"));
        let bound = |most: Option<u64>| most.map_or_else(|| "None".to_owned(), |most| most.to_string());
        format!(
            "Stats(hits={}, misses={}, hit_ratio={ratio}, sets={}, deletes={}, evictions={}, expirations={}, \
             rejections={}, entries={}, memory={}, max_entries={}, max_memory={}, age={:.3})",
            self.hits,
            self.misses,
            self.sets,
            self.deletes,
            self.evictions,
            self.expirations,
            self.rejections,
            self.entries,
            self.memory,
            bound(self.max_entries),
            bound(self.max_memory),
            self.age,
        )
    }
}

impl Stats {
    /// What a store says of itself to a handle of this capacity.
    pub(crate) fn new(store: &LocalStore, capacity: &Capacity) -> Self {
        let stats = store.stats();
        let bound = |most: u64| (most != u64::MAX).then_some(most);
        Self {
            hits: stats.hits,
            misses: stats.misses,
            hit_ratio: stats.hit_ratio(),
            sets: stats.insertions,
            deletes: stats.removals,
            evictions: stats.evictions,
            expirations: stats.expirations,
            rejections: stats.rejections,
            entries: stats.entries,
            memory: stats.weight,
            max_entries: bound(capacity.max_entries),
            max_memory: bound(capacity.max_weight),
            age: store.age().as_secs_f64(),
        }
    }
}
