//! How much a cache may hold, and how much it does.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::policy::Pressure;

/// What a cache may hold: it is full when either bound is reached. Exact, and over all shards together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// At most this many entries; at least 1 is taken.
    pub max_entries: u64,
    /// At most this much weight (bytes, unless a weigher says otherwise).
    pub max_weight: u64,
    /// How many entries go when there are too many.
    pub batch: Batch,
}

/// How many entries are evicted at once when the number of entries has reached its bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Batch {
    /// As many as needed, which is one, and none when an entry is overwritten.
    #[default]
    One,
    /// One in so many, rounded down, before each write that finds the cache full: what Django's `LocMemCache` does
    /// by its `CULL_FREQUENCY`. As there, nothing is evicted while there are fewer entries than this number.
    OneIn(NonZeroU32),
    /// All of them.
    All,
}

impl Capacity {
    /// No bound at all.
    pub const UNBOUNDED: Self = Self {
        max_entries: u64::MAX,
        max_weight: u64::MAX,
        batch: Batch::One,
    };

    /// Of what there is more than this, if of anything.
    pub(crate) fn exceeded_by(&self, totals: &Totals) -> Option<Pressure> {
        self.exceeded_with(totals, Change::default())
    }

    /// Of what there would be more than this after a change.
    pub(crate) fn exceeded_with(&self, totals: &Totals, change: Change) -> Option<Pressure> {
        // Neither sum overflows: what leaves was counted, and 2^32 entries of a weight below 2^32 are the most.
        let weight = totals.weight().wrapping_add_signed(change.weight);
        let entries = totals.entries().wrapping_add_signed(change.entries);
        if weight > self.max_weight {
            Some(Pressure::Weight)
        } else if self.batch == Batch::One && entries > self.max_entries.max(1) {
            Some(Pressure::Entries)
        } else {
            None
        }
    }

    /// How many entries are to go before the next write, by the batch rule.
    pub(crate) fn batch_due(&self, entries: u64) -> u64 {
        match self.batch {
            Batch::OneIn(n) if entries >= self.max_entries => entries / u64::from(n.get()),
            Batch::All if entries >= self.max_entries => entries,
            _ => 0,
        }
    }
}

/// What all shards of a store hold together.
#[derive(Debug)]
pub(crate) struct Totals {
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

    pub(crate) fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    pub(crate) fn weight(&self) -> u64 {
        self.weight.load(Ordering::Relaxed)
    }

    /// Writes what changed: nothing, where an entry took the place of one that weighs as much. All shards share these
    /// counters, so that to write them is what costs most of a write.
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

/// What is to be added to the totals.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Change {
    entries: i64,
    weight: i64,
}

impl Change {
    /// An entry came.
    pub(crate) fn came(weight: u32) -> Self {
        Self {
            entries: 1,
            weight: i64::from(weight),
        }
    }

    /// An entry left.
    pub(crate) fn left(weight: u32) -> Self {
        Self::came(weight).reversed()
    }

    /// Everything left.
    pub(crate) fn all_left(entries: usize, weight: u64) -> Self {
        Self {
            entries: (entries as u64).cast_signed(),
            weight: weight.cast_signed(),
        }
        .reversed()
    }

    /// An entry became heavier or lighter.
    pub(crate) fn weight(from: u32, to: u32) -> Self {
        Self {
            entries: 0,
            weight: i64::from(to) - i64::from(from),
        }
    }

    pub(crate) const fn and(self, other: Self) -> Self {
        Self {
            entries: self.entries + other.entries,
            weight: self.weight + other.weight,
        }
    }

    /// Whether there is more than before, of anything.
    pub(crate) const fn is_more(self) -> bool {
        self.entries > 0 || self.weight > 0
    }

    const fn reversed(self) -> Self {
        Self {
            entries: -self.entries,
            weight: -self.weight,
        }
    }
}
