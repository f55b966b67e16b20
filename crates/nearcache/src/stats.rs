//! The statistics of the local cache.

use std::ops::AddAssign;

/// The counts since a cache was made or its statistics were reset, and its present size.
///
/// Each shard counts under its lock, on a cache line that the lock has already loaded. Reading the statistics adds the shards up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// The reads that found a live entry.
    pub hits: u64,
    /// The reads that found none.
    pub misses: u64,
    /// The values stored: new, replacing and updated ones.
    pub insertions: u64,
    /// The live entries that callers removed. `clear` counts each entry.
    pub removals: u64,
    /// The entries evicted to make room.
    pub evictions: u64,
    /// The entries removed because they had expired.
    pub expirations: u64,
    /// The values rejected because they weigh more than the capacity.
    pub rejections: u64,
    /// The computations begun for keys that were missed, by [`get_or_insert_with`](crate::local::Cache::get_or_insert_with) and its like.
    pub flights: u64,
    /// The callers that waited for another's computation instead. Each of them has counted as a miss before.
    pub waits: u64,
    /// The present number of entries, including expired ones that have not been removed yet.
    pub entries: u64,
    /// The present weight of all entries.
    pub weight: u64,
}

impl Stats {
    /// Returns the share of hits among all reads, from 0 to 1, or `None` before the first read.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // a ratio is shown to a few digits
    pub fn hit_ratio(&self) -> Option<f64> {
        let reads = self.hits + self.misses;
        (reads > 0).then(|| self.hits as f64 / reads as f64)
    }
}

impl AddAssign for Stats {
    fn add_assign(&mut self, other: Self) {
        self.hits += other.hits;
        self.misses += other.misses;
        self.insertions += other.insertions;
        self.removals += other.removals;
        self.evictions += other.evictions;
        self.expirations += other.expirations;
        self.rejections += other.rejections;
        self.flights += other.flights;
        self.waits += other.waits;
        self.entries += other.entries;
        self.weight += other.weight;
    }
}
