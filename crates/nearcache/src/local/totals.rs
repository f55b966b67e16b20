//! The totals: the number and weight of all entries, which every shard of a cache adds to.
//!
//! **Invariant.** Whenever all shards are unlocked, the totals are the sums over the shards. A shard changes them while it is locked, and
//! adds a new entry *before* it is inserted, so that two writers in two shards cannot both take the last room.
//!
//! **Concurrency.** Relaxed atomics suffice: no other memory is published through them.

use std::sync::atomic::{AtomicU64, Ordering};

/// The number and weight of the entries in all shards.
#[derive(Debug)]
pub(crate) struct Totals {
    /// The number of shards that share these totals.
    pub(crate) shards: usize,
    entries: AtomicU64,
    weight: AtomicU64,
}

impl Totals {
    pub(crate) const fn new(shards: usize) -> Self {
        Self {
            shards,
            entries: AtomicU64::new(0),
            weight: AtomicU64::new(0),
        }
    }

    /// Returns the number of entries.
    pub(crate) fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    /// Returns the weight of all entries.
    pub(crate) fn weight(&self) -> u64 {
        self.weight.load(Ordering::Relaxed)
    }

    /// Adds a change. Does not write a counter that stays the same, as both do when an entry replaces one of its weight: all
    /// shards share the counters, so writing them is the most expensive part of a write.
    pub(crate) fn apply(&self, change: Change) {
        if change.entries != 0 {
            self.entries
                .fetch_add(change.entries.cast_unsigned(), Ordering::Relaxed);
        }
        if change.weight != 0 {
            self.weight
                .fetch_add(change.weight.cast_unsigned(), Ordering::Relaxed);
        }
    }
}

/// A change of the totals.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Change {
    pub(super) entries: i64,
    pub(super) weight: i64,
}

impl Change {
    /// Returns the change by a new entry.
    pub(crate) fn added(weight: u32) -> Self {
        Self {
            entries: 1,
            weight: i64::from(weight),
        }
    }

    /// Returns the change by a removed entry.
    pub(crate) fn removed(weight: u32) -> Self {
        Self::added(weight).negated()
    }

    /// Returns the change by the removal of all entries of a shard.
    pub(crate) fn all_removed(entries: usize, weight: u64) -> Self {
        Self {
            entries: (entries as u64).cast_signed(),
            weight: weight.cast_signed(),
        }
        .negated()
    }

    /// Returns the change by an entry's new weight.
    pub(crate) fn reweighed(from: u32, to: u32) -> Self {
        Self {
            entries: 0,
            weight: i64::from(to) - i64::from(from),
        }
    }

    /// Returns both changes together.
    pub(crate) const fn plus(self, other: Self) -> Self {
        Self {
            entries: self.entries + other.entries,
            weight: self.weight + other.weight,
        }
    }

    /// Returns whether either total grows.
    pub(crate) const fn is_growth(self) -> bool {
        self.entries > 0 || self.weight > 0
    }

    const fn negated(self) -> Self {
        Self {
            entries: -self.entries,
            weight: -self.weight,
        }
    }
}
