//! The capacity of a cache: its limits, and how many entries are evicted when the number of entries reaches its limit.

use std::num::NonZeroU32;
use std::thread::available_parallelism;

use super::totals::{Change, Totals};
use crate::policy::Limit;

/// The least number of entries that a shard has room for by default, because the policy of a small shard knows too little.
/// Shards of 125 entries cost 0.1 to 0.6 points of hit ratio, shards of 40 up to 1.4.
const MIN_SHARD_ENTRIES: u64 = 125;
/// The weight that an entry is assumed to have where only the weight is limited: that of a page fragment, in bytes.
const LIKELY_WEIGHT: u64 = 1024;
/// Enough that two threads seldom want the same shard. With four a core, on two cores, they did at every eighth read.
const SHARDS_PER_CORE: usize = 16;

/// The limits of a cache, which is full when it reaches either. They are exact, and count over all shards together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// The most entries. 0 counts as 1.
    pub max_entries: u64,
    /// The greatest total weight, in the unit of the entries' weights.
    pub max_weight: u64,
    /// How many entries are evicted when `max_entries` is reached.
    pub batch: Batch,
}

/// How many entries are evicted at once when the number of entries reaches its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Batch {
    /// As many as the write needs: one for a new entry, none for a replaced one.
    #[default]
    One,
    /// One in so many entries, rounded down, before each write that finds the cache full. Nothing is evicted while there are
    /// fewer entries than this number.
    OneIn(NonZeroU32),
    /// All entries, before each write that finds the cache full.
    All,
}

impl Capacity {
    /// The capacity without limits.
    pub const UNBOUNDED: Self = Self {
        max_entries: u64::MAX,
        max_weight: u64::MAX,
        batch: Batch::One,
    };

    /// Returns the default number of shards of a cache of this capacity: sixteen a core, but no more than leave each shard 125
    /// entries. Where only the weight is limited, an entry is assumed to weigh 1,024.
    #[must_use]
    pub fn default_shards(&self) -> usize {
        let max_entries = self.max_entries.min(self.max_weight / LIKELY_WEIGHT);
        let by_cores = available_parallelism().map_or(1, usize::from) * SHARDS_PER_CORE;
        let by_size = usize::try_from(max_entries / MIN_SHARD_ENTRIES).unwrap_or(usize::MAX);
        // Rounded down here, because `RawCache::new` rounds up.
        let shards = by_cores.next_power_of_two().min(by_size.max(1));
        1 << shards.ilog2()
    }

    /// Returns the exceeded limit, if any.
    pub(crate) fn exceeded_by(&self, totals: &Totals) -> Option<Limit> {
        self.exceeded_with(totals, Change::default())
    }

    /// Returns the limit that a change would exceed, if any.
    pub(crate) fn exceeded_with(&self, totals: &Totals, change: Change) -> Option<Limit> {
        // Neither sum overflows: removed entries were counted before, and a shard has fewer than 2^32 entries of a weight below 2^32.
        let weight = totals.weight().wrapping_add_signed(change.weight);
        let entries = totals.entries().wrapping_add_signed(change.entries);
        if weight > self.max_weight {
            Some(Limit::Weight)
        } else if self.batch == Batch::One && entries > self.max_entries.max(1) {
            Some(Limit::Entries)
        } else {
            None
        }
    }

    /// Returns how many entries the batch rule evicts before a write to a cache of so many entries.
    pub(crate) fn batch_due(&self, entries: u64) -> u64 {
        match self.batch {
            Batch::OneIn(n) if entries >= self.max_entries => entries / u64::from(n.get()),
            Batch::All if entries >= self.max_entries => entries,
            _ => 0,
        }
    }
}
