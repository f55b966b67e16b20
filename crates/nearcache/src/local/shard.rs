//! A shard: what one lock guards. An index of slot numbers, a slab of entries, and a policy that orders them.
//!
//! **Invariants**, which [`Shard::validate`] checks: index, slab and policy have the same entries; each is in the index under the hash
//! of its key, and no other entry has that key; `weight` and `expiring` are sums over these entries; the entries are counted in the
//! cache's totals.
//!
//! **Memory.** What a new entry needs is reserved before the entry is linked. Nothing else here needs memory that it cannot do
//! without.
//!
//! The operations are in files of their own: `get.rs`, `insert.rs`, `update.rs`, `remove.rs`, `expire.rs`, `sweep.rs`,
//! `evict.rs`, `keys.rs`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::index::Index;
use super::single_flight::Flights;
use super::slab::{Entry, Slab};
use super::totals::{Change, Totals};
use crate::clock::{Clock, Timestamp};
use crate::error::OutOfMemory;
use crate::key::{Key, KeyHash, KeyHasher};
use crate::policy::{AnyPolicy, Eviction, Limit, Policy, Stamp};
use crate::stats::Stats;

/// Identifies a stored value: its slot and the stamp of the write that stored it.
#[derive(Clone, Copy)]
pub(super) struct Version {
    pub(super) slot: u32,
    pub(super) stamp: Stamp,
}

/// One part of a cache. The fields' order puts what a hit needs on one cache line, the lock's.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Shard<V> {
    pub(super) index: Index,
    pub(super) hits: u64,
    pub(super) misses: u64,
    pub(super) slab: Slab<V>,
    pub(super) policy: AnyPolicy,
    hasher: KeyHasher,
    eviction: Eviction,
    /// Returns for how long an expired value is kept.
    stale_time: fn(&V) -> Duration,
    /// The weight of all entries.
    pub(super) weight: u64,
    /// The number of entries that can expire. While it is 0, writes need not read the clock.
    pub(super) expiring: usize,
    /// The slot that the sweep looks at next.
    pub(super) sweep_cursor: u32,
    /// The number of writes, for the sweep of other shards.
    pub(super) writes: u32,
    /// The stamp of the next value.
    pub(super) stamp: Stamp,
    /// The counts other than `hits` and `misses`.
    pub(super) stats: Stats,
    counting_since: Instant,
    /// The computations for keys of this shard.
    pub(super) flights: Flights<V>,
    /// The totals of all shards.
    pub(super) totals: Arc<Totals>,
}

impl<V> Shard<V> {
    pub(super) fn new(eviction: Eviction, totals: Arc<Totals>, hasher: KeyHasher) -> Self {
        Self {
            index: Index::default(),
            hits: 0,
            misses: 0,
            slab: Slab::default(),
            policy: AnyPolicy::new(eviction),
            hasher,
            eviction,
            stale_time: |_| Duration::ZERO,
            weight: 0,
            expiring: 0,
            sweep_cursor: 0,
            writes: 0,
            stamp: Stamp::default(),
            stats: Stats::default(),
            counting_since: Instant::now(),
            flights: Flights::default(),
            totals,
        }
    }

    /// Sets the function that returns for how long an expired value is kept.
    pub(super) fn set_stale_time(&mut self, stale_time: fn(&V) -> Duration) {
        self.stale_time = stale_time;
    }

    /// Returns whether an entry that has expired is kept, because its value may still be wanted as a stale one.
    #[cold]
    pub(super) fn is_stale(&self, entry: &Entry<V>, clock: &impl Clock) -> bool {
        let stale_time = (self.stale_time)(&entry.value);
        !stale_time.is_zero() && !clock.has_passed(entry.expires_at.after(stale_time))
    }

    /// Returns the number of entries.
    pub(super) const fn len(&self) -> usize {
        self.slab.len()
    }

    /// Returns whether this shard evicts before others do: unless it has far fewer entries than the average.
    pub(super) fn has_fair_share(&self) -> bool {
        // Without a division, which takes as long as a lookup.
        (self.len() * self.totals.shards * 8) as u64 >= self.totals.entries() * 7
    }

    /// Returns the limit that is exceeded, whatever the capacity, when no slot number is left.
    #[inline]
    pub(super) fn slot_limit(&self) -> Option<Limit> {
        self.slab.is_full().then_some(Limit::Entries)
    }

    /// Reserves memory for one more entry in slab and index.
    pub(super) fn try_reserve(&mut self) -> Result<(), OutOfMemory> {
        self.slab.try_reserve()?;
        if self.index.is_full(self.slab.len()) {
            let (hasher, entries) = (&self.hasher, self.slab.entries());
            // In the slab's order, in which the processor can read ahead.
            self.index
                .try_grow(entries.map(|(slot, entry)| (hasher.hash(entry.key.bytes()), slot)))?;
        }
        Ok(())
    }

    /// Links a new entry, for which [`try_reserve`](Self::try_reserve) has reserved memory. The caller counts it in the totals.
    pub(super) fn link(&mut self, key: Key<'_>, entry: Entry<V>) {
        self.weight += u64::from(entry.node.weight);
        self.expiring += usize::from(entry.expires_at != Timestamp::NEVER);
        let slot = self.slab.insert(entry);
        self.stamp = self.stamp.next();
        self.stats.insertions += 1;
        self.index.insert(key.hash, slot);
        self.policy.admit(&mut self.slab, slot, key.hash);
    }

    /// Removes an entry and returns it.
    pub(super) fn remove(&mut self, slot: u32) -> Option<Entry<V>> {
        self.policy.detach(&mut self.slab, slot);
        self.unlink_detached(slot);
        let entry = self.slab.remove(slot)?;
        self.totals.apply(Change::removed(entry.node.weight));
        Some(entry)
    }

    /// Removes an entry from the index and the sums, and returns its key's hash. The policy has already detached it, and the slab
    /// still has it.
    #[inline]
    pub(super) fn unlink_detached(&mut self, slot: u32) -> KeyHash {
        let entry = self.slab.get(slot);
        let hash = self.hasher.hash(entry.key.bytes());
        self.policy.prefetch(hash);
        self.weight -= u64::from(entry.node.weight);
        self.expiring -= usize::from(entry.expires_at != Timestamp::NEVER);
        self.index.remove(hash, slot);
        hash
    }

    /// Removes all entries. The returned value owns their memory. O(flights).
    pub(super) fn take_all(&mut self) -> impl Sized + use<V> {
        self.totals.apply(Change::all_removed(self.len(), self.weight));
        let mut flights = std::mem::take(&mut self.flights);
        flights.overtake_all();
        let empty = Self {
            flights,
            hits: self.hits,
            misses: self.misses,
            stats: self.stats,
            counting_since: self.counting_since,
            stamp: self.stamp,
            stale_time: self.stale_time,
            ..Self::new(self.eviction, Arc::clone(&self.totals), self.hasher.clone())
        };
        std::mem::replace(self, empty)
    }

    /// Returns the statistics.
    pub(super) fn stats(&self) -> Stats {
        Stats {
            hits: self.hits,
            misses: self.misses,
            entries: self.len() as u64,
            weight: self.weight,
            ..self.stats
        }
    }

    /// Sets all counts to zero.
    pub(super) fn reset_stats(&mut self) {
        (self.hits, self.misses) = (0, 0);
        self.stats = Stats::default();
        self.counting_since = Instant::now();
    }

    /// Returns how long the shard has been counting.
    pub(super) fn age(&self) -> Duration {
        self.counting_since.elapsed()
    }

    /// Checks the invariants. O(n).
    pub(super) fn validate(&self) -> Result<(), String> {
        self.flights.validate()?;
        let in_policy = self.policy.validate(&self.slab)?;
        let in_index = self.index.slots().count();
        if (in_policy, in_index) != (self.len(), self.len()) {
            let in_slab = self.len();
            return Err(format!(
                "policy, index and slab have {in_policy}, {in_index} and {in_slab} entries"
            ));
        }
        let (mut weight, mut expiring) = (0, 0);
        for slot in self.index.slots() {
            let Some(entry) = self.slab.occupied(slot) else {
                return Err(format!("slot {slot} is in the index, but free"));
            };
            if self.slot_of(self.hasher.key(entry.key.bytes())) != Some(slot) {
                return Err(format!("slot {slot} is not in the index under its key's hash"));
            }
            weight += u64::from(entry.node.weight);
            expiring += usize::from(entry.expires_at != Timestamp::NEVER);
        }
        if (weight, expiring) != (self.weight, self.expiring) {
            let kept = (self.weight, self.expiring);
            return Err(format!(
                "(weight, expiring) are {:?} over the entries, but {kept:?} in the shard",
                (weight, expiring)
            ));
        }
        Ok(())
    }
}

/// Recovers a shard that a panic left half changed, by emptying it: a cache may lose entries, but must not return wrong ones.
pub(super) fn rebuild<V>(shard: &mut Shard<V>) {
    // Leaked, because the entries may be in any state, and dropping them could run user code under the lock.
    std::mem::forget(shard.take_all());
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;
    use crate::local::lock::Lock;

    #[test]
    fn a_hit_touches_only_the_cache_line_of_the_lock() {
        let (lock, line) = (8, 64);
        assert_eq!(
            size_of::<Lock<Shard<u64>>>(),
            (lock + size_of::<Shard<u64>>()).next_multiple_of(line)
        );
        assert!(lock + offset_of!(Shard<u64>, misses) < line);
        assert!(lock + offset_of!(Shard<u64>, slab) + size_of::<Vec<u64>>() <= line);
    }
}
