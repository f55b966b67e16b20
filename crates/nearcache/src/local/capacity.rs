//! How much a cache may hold, and how much it does.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::available_parallelism;

use crate::policy::Pressure;

/// A shard has room for this many entries at least, so that a small cache is not cut into pieces too small to tell a
/// good entry from a bad one: pieces of 125 cost 0.1 to 0.6 points of hits, pieces of 40 up to 1.4.
const MIN_SHARD_ENTRIES: u64 = 125;
/// Where only the weight is bounded, an entry is taken to be as heavy as this: a page's fragment, if that is bytes.
const LIKELY_WEIGHT: u64 = 1024;
/// So many that two threads seldom meet in one shard: with four a core they did at every eighth read, on two cores.
const SHARDS_PER_CORE: usize = 16;

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

    /// The number of shards for a store of this capacity that many threads use: sixteen a core, but no more than leave each
    /// shard 125 entries, of 1,024 bytes where only the weight is bounded.
    #[must_use]
    pub fn default_shards(&self) -> usize {
        let max_entries = self.max_entries.min(self.max_weight / LIKELY_WEIGHT);
        let by_cores = available_parallelism().map_or(1, usize::from) * SHARDS_PER_CORE;
        let by_size = usize::try_from(max_entries / MIN_SHARD_ENTRIES).unwrap_or(usize::MAX);
        // Rounded down here, since `RawCache::new` rounds up.
        let shards = by_cores.next_power_of_two().min(by_size.max(1));
        1 << shards.ilog2()
    }

    /// Returns the exceeded limit, if any.
    pub(crate) fn exceeded_by(&self, totals: &Totals) -> Option<Pressure> {
        self.exceeded_with(totals, Change::default())
    }

    /// Returns the limit that a change would exceed, if any.
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
