//! What a cache counts, for Python.

use pyo3::prelude::*;

/// Counts since the store was made (in this process), and what it holds now.
#[pyclass(frozen, get_all, eq, module = "nearcache._core")]
#[derive(Clone, PartialEq)]
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
}

#[pymethods]
impl Stats {
    fn __repr__(&self) -> String {
        let ratio = self
            .hit_ratio
            .map_or_else(|| "None".to_owned(), |ratio| format!("{ratio:.4}"));
        format!(
            "Stats(hits={}, misses={}, hit_ratio={ratio}, sets={}, deletes={}, evictions={}, expirations={}, \
             rejections={}, entries={}, memory={})",
            self.hits,
            self.misses,
            self.sets,
            self.deletes,
            self.evictions,
            self.expirations,
            self.rejections,
            self.entries,
            self.memory,
        )
    }
}

impl From<nearcache::Stats> for Stats {
    fn from(stats: nearcache::Stats) -> Self {
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
        }
    }
}
