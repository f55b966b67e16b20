//! What a cache counts, for Python.

#[cfg(shared)]
use std::time::Duration;

use nearcache::local::{Capacity, RawCache};
#[cfg(shared)]
use nearcache::{Clock, SystemClock, shared::SharedStats};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::memory::format;
use crate::objects::{Count, Float, text};
use crate::values::Stored;

/// Counts since the store was made (of this process, or of all that share the file) or its statistics were reset, what it holds now, and how much it may.
///
/// Two are equal if they say the same, whatever their age.
#[pyclass(frozen, get_all, eq, module = "nearcache._core")]
#[derive(Clone)]
pub(crate) struct Stats {
    /// Reads that found a value.
    hits: Count,
    /// Reads that did not.
    misses: Count,
    /// Hits among all reads, from 0 to 1; None before the first.
    hit_ratio: Option<Float>,
    /// Values stored.
    sets: Count,
    /// Live entries removed by a caller.
    deletes: Count,
    /// Live entries dropped for want of room.
    evictions: Count,
    /// Entries dropped because their time was over.
    expirations: Count,
    /// Values too large to be stored.
    rejections: Count,
    /// Entries held now.
    entries: Count,
    /// Bytes they are reckoned to take, keys and bookkeeping included.
    memory: Count,
    /// How many entries there may be; None for no bound.
    max_entries: Option<Count>,
    /// How many bytes they may take; None for no bound.
    max_memory: Option<Count>,
    /// For how many seconds this has been counted.
    age: Float,
    /// Values that were found but could not be read here, which count as misses; None in a `LocalCache`, as all below.
    unreadable: Option<Count>,
    /// Locks taken over from processes that died in the midst of a write.
    recoveries: Option<Count>,
    /// Times that something in the file was found damaged.
    damages: Option<Count>,
    /// Times that another process's lock was waited for in vain.
    timeouts: Option<Count>,
    /// Bytes that were written to store values.
    written: Option<Count>,
    /// Bytes that were copied within the file to keep what will be asked for.
    moved: Option<Count>,
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
    fn __repr__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        text(py, &self.told()?)
    }
}

impl Stats {
    /// All of it in one line.
    fn told(&self) -> PyResult<String> {
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
        ] {
            if let Some(Count(number)) = number {
                of_shared = format(format_args!("{of_shared}, {name}={number}"))?;
            }
        }
        format(format_args!(
            "Stats(hits={}, misses={}, hit_ratio={ratio}, sets={}, deletes={}, evictions={}, expirations={}, \
             rejections={}, entries={}, memory={}, max_entries={}, max_memory={}, age={:.3}{})",
            self.hits.0,
            self.misses.0,
            self.sets.0,
            self.deletes.0,
            self.evictions.0,
            self.expirations.0,
            self.rejections.0,
            self.entries.0,
            self.memory.0,
            whole(self.max_entries)?,
            whole(self.max_memory)?,
            self.age.0,
            of_shared,
        ))
    }

    /// What a store of this process says of itself to a handle of this capacity.
    pub(crate) fn of_local(store: &RawCache<Stored>, capacity: &Capacity) -> Self {
        let bound = |most: u64| (most != u64::MAX).then_some(Count(most));
        Self {
            max_entries: bound(capacity.max_entries),
            max_memory: bound(capacity.max_weight),
            age: Float(store.age().as_secs_f64()),
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
            max_memory: Some(Count(stats.capacity_bytes)),
            age: Float(Duration::from_micros(u64::try_from(age).unwrap_or_default()).as_secs_f64()),
            unreadable: Some(Count(stats.unreadable)),
            recoveries: Some(Count(stats.recoveries)),
            damages: Some(Count(stats.damages)),
            timeouts: Some(Count(stats.timeouts)),
            written: Some(Count(stats.written_bytes)),
            moved: Some(Count(stats.moved_bytes)),
            ..Self::counted(&stats.counts)
        }
    }

    fn counted(counts: &nearcache::Stats) -> Self {
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
            unreadable: None,
            recoveries: None,
            damages: None,
            timeouts: None,
            written: None,
            moved: None,
        }
    }
}
