//! The raw cache: shards and their totals. Every call passes the clock, and every write the capacity.
//!
//! The operations are in files of their own: `get.rs`, `insert.rs`, `update.rs`, `remove.rs`, `expire.rs`, `freeze.rs`,
//! `keys.rs`.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use super::index::Index;
use super::lock::{Guard, Lock};
use super::shard::{Shard, rebuild};
use super::slab::Slab;
use super::totals::Totals;
use crate::error::OutOfMemory;
use crate::key::{KeyHash, KeyHasher};
use crate::memory::try_with_capacity;
use crate::policy::Eviction;
use crate::stats::Stats;

/// A bounded cache in this process's memory, whose callers pass clock and capacity with every call.
///
/// Most programs want [`Cache`](super::Cache), which is a handle with a clock, a capacity and a weigher. `RawCache` is for
/// embedders whose handles differ in these but share the entries. Any [`Timestamp`](crate::Timestamp) can be passed as a clock.
#[derive(Debug)]
pub struct RawCache<V> {
    pub(super) shards: Box<[Lock<Shard<V>>]>,
    pub(super) hasher: KeyHasher,
    pub(super) totals: Arc<Totals>,
    /// The shard, modulo their number, that is the next to be swept or to evict for another one.
    pub(super) next_shard: AtomicUsize,
}

impl<V> RawCache<V> {
    /// The bytes that an entry takes besides its key and value: the rest of its slot, the length of its key, its place in the
    /// index at the mean load, its part of the ghosts, and its part of the slab's reserve.
    pub const BOOKKEEPING: usize =
        Slab::<V>::BYTES_PER_ENTRY - size_of::<V>() + 1 + Index::BYTES_PER_ENTRY + Eviction::BYTES_PER_ENTRY;

    /// Makes an empty cache of `shards` shards, rounded up to a power of two.
    ///
    /// With one shard, the policy's order is exact. With more, more threads can use the cache at once.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is none for the shards, which take a few hundred bytes each.
    pub fn new(eviction: Eviction, shards: usize) -> Result<Self, OutOfMemory> {
        let count = shards.max(1).checked_next_power_of_two().ok_or(OutOfMemory)?;
        let mut shards = try_with_capacity(count)?;
        let hasher = KeyHasher::default();
        // The one allocation that aborts the process if it fails: stable Rust has no fallible one for an `Arc`.
        let totals = Arc::new(Totals::new(count));
        shards.resize_with(count, || {
            Lock::new(Shard::new(eviction, Arc::clone(&totals), hasher.clone()))
        });
        Ok(Self {
            shards: shards.into_boxed_slice(),
            hasher,
            totals,
            next_shard: AtomicUsize::new(0),
        })
    }

    /// Keeps expired values for as long as this function says, so that [`get_stale`](Self::get_stale) finds them. Zero, the default,
    /// keeps none.
    ///
    /// To everything else such an entry is absent, as any expired entry. A write or removal of its key removes it, and it may
    /// be evicted. The function runs under the lock, so it has to be quick and must not use the cache.
    #[must_use]
    pub fn with_stale_times(self, stale_time: fn(&V) -> Duration) -> Self {
        for shard in &self.shards {
            lock(shard).set_stale_time(stale_time);
        }
        self
    }

    /// Returns the number of entries, including expired ones that have not been removed yet. O(1), no lock.
    pub fn len(&self) -> u64 {
        self.totals.entries()
    }

    /// Returns whether there are no entries. O(1), no lock.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the weight of all entries. O(1), no lock.
    pub fn weight(&self) -> u64 {
        self.totals.weight()
    }

    /// Returns the statistics since the cache was made or last [reset](Self::reset_stats). O(shards).
    ///
    /// Locks one shard after the other, so it is a sum over moments close together.
    pub fn stats(&self) -> Stats {
        let mut sum = Stats::default();
        for shard in &self.shards {
            sum += lock(shard).stats();
        }
        sum
    }

    /// Sets all counts of the statistics to zero. The entries stay. O(shards), one lock after the other.
    pub fn reset_stats(&self) {
        for shard in &self.shards {
            lock(shard).reset_stats();
        }
    }

    /// Returns how long the cache has been counting: since it was made or last [reset](Self::reset_stats). O(shards).
    pub fn age(&self) -> Duration {
        let ages = self.shards.iter().map(|shard| lock(shard).age());
        ages.max().unwrap_or_default()
    }

    /// Returns the number of the shard that has the keys of this hash.
    #[allow(clippy::cast_possible_truncation)] // the lowest bits are wanted
    #[inline]
    pub(super) fn shard_of(&self, hash: KeyHash) -> usize {
        // The number of shards is a power of two. A division takes a tenth of a get.
        hash.shard_bits() as usize & (self.shards.len() - 1)
    }

    /// Locks the shard of a hash.
    #[allow(clippy::inline_always)] // for `get`
    #[inline(always)]
    pub(super) fn lock(&self, hash: KeyHash) -> Guard<'_, Shard<V>> {
        lock(&self.shards[self.shard_of(hash)])
    }

    /// Runs `work` on the locked shard of a hash.
    #[allow(clippy::inline_always)] // for `get`
    #[inline(always)]
    pub(super) fn with_shard<T>(&self, hash: KeyHash, work: impl FnOnce(&mut Shard<V>) -> T) -> T {
        self.shards[self.shard_of(hash)].with(rebuild, work)
    }
}

/// Locks a shard.
#[allow(clippy::inline_always)] // for `get`
#[inline(always)]
pub(super) fn lock<V>(shard: &Lock<Shard<V>>) -> Guard<'_, Shard<V>> {
    shard.lock(rebuild)
}
