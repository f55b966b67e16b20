//! What a cache counts.

use std::ops::AddAssign;

/// Counts since the cache was made or its statistics were reset, and what it holds now.
///
/// Each shard counts under its lock, which costs nothing; the sum is taken when asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Reads that found a live entry.
    pub hits: u64,
    /// Reads that did not.
    pub misses: u64,
    /// Values stored: new, replaced and updated ones.
    pub insertions: u64,
    /// Live entries that a caller removed; `clear` counts each of its entries.
    pub removals: u64,
    /// Live entries dropped for want of room.
    pub evictions: u64,
    /// Entries dropped because their time was over.
    pub expirations: u64,
    /// Values that were too large to be stored.
    pub rejections: u64,
    /// Entries held now, dead ones included that have not been noticed yet.
    pub entries: u64,
    /// What they weigh together.
    pub weight: u64,
}

impl Stats {
    /// Hits among all reads, from 0 to 1; `None` before the first read.
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
        self.entries += other.entries;
        self.weight += other.weight;
    }
}
