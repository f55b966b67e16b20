//! Eviction: makes room in the writing shard, and in other shards after it is unlocked.
//!
//! The capacity is exact over all shards. A writer evicts from its own shard first, if that has seven eighths of the average number of
//! entries or more. What is then still over the capacity is evicted from the other shards in turn, one lock at a time, and from
//! the writing shard if the others have nothing left.

use std::sync::atomic::Ordering;

use super::capacity::Capacity;
use super::raw_cache::RawCache;
use super::shard_writer::ShardWriter;
use super::totals::Change;
use crate::clock::Clock;
use crate::key::Key;
use crate::policy::{Limit, Policy};

impl<V> RawCache<V> {
    /// Evicts what the writing shard did not: the rest of its batch, and what is over the capacity.
    #[inline]
    pub(super) fn enforce_capacity<C: Clock>(
        &self,
        written: Key<'_>,
        evictions_left: u64,
        capacity: &Capacity,
        clock: &C,
    ) {
        if evictions_left > 0 || capacity.exceeded_by(&self.totals).is_some() {
            self.evict_from_other_shards(written, evictions_left, capacity, clock);
        }
    }

    /// Evicts from the other shards in turn, and then from the writing shard if they have nothing left.
    #[cold]
    fn evict_from_other_shards<C: Clock>(
        &self,
        written: Key<'_>,
        mut evictions_left: u64,
        capacity: &Capacity,
        clock: &C,
    ) {
        let writing_shard = self.shard_of(written.hash);
        let mut without_victim = 0;
        while without_victim + 1 < self.shards.len() {
            let limit = match capacity.exceeded_by(&self.totals) {
                Some(limit) => limit,
                None if evictions_left > 0 => Limit::Entries,
                None => return,
            };
            let shard = self.next_shard.fetch_add(1, Ordering::Relaxed) % self.shards.len();
            if shard == writing_shard {
                continue;
            }
            if self.write_shard(shard, capacity, clock, |writer| writer.evict(limit)) {
                evictions_left = evictions_left.saturating_sub(1);
                without_victim = 0;
            } else {
                without_victim += 1;
            }
        }
        // Repeated, because memory may be too short to defer the drops of all victims at once.
        while capacity.exceeded_by(&self.totals).is_some()
            && self.write(written.hash, capacity, clock, |writer| {
                writer.make_room_except(written)
            })
        {}
    }
}

impl<V, C: Clock> ShardWriter<'_, V, C> {
    /// Evicts so many entries, or fewer if there are no more that can be evicted. Returns how many are left to evict.
    #[cold]
    pub(super) fn evict_batch(&mut self, count: u64) -> u64 {
        let mut left = count;
        while left > 0 && self.evict(Limit::Entries) {
            left -= 1;
        }
        left
    }

    /// Evicts what a coming change of the totals would exceed, and returns the sum of this change and the evictions'. The caller
    /// applies it. In a full cache of equal weights the sum is zero, so the processors do not pass the totals' cache line around.
    #[inline]
    pub(super) fn evict_ahead(&mut self, mut change: Change) -> Change {
        while let Some(limit) = self
            .capacity
            .exceeded_with(&self.shard.totals, change)
            .or(self.shard.slot_limit())
        {
            let Some(weight) = self.evict_uncounted(limit) else {
                break;
            };
            change = change.plus(Change::removed(weight));
        }
        change
    }

    /// Evicts while the cache is over its capacity, as long as this shard has an entry that can be evicted.
    #[inline(never)]
    pub(super) fn make_room(&mut self) {
        while let Some(limit) = self.capacity.exceeded_by(&self.shard.totals) {
            if !self.evict(limit) {
                break;
            }
        }
    }

    /// Evicts while the cache is over its capacity, but not the entry of this key. Returns whether it evicted any.
    fn make_room_except(&mut self, key: Key<'_>) -> bool {
        let slot = self.shard.slot_of(key);
        // A detached entry is not evicted.
        if let Some(slot) = slot {
            self.shard.policy.detach(&mut self.shard.slab, slot);
        }
        let before = self.shard.len();
        self.make_room();
        if let Some(slot) = slot {
            self.shard.policy.attach(&mut self.shard.slab, slot);
        }
        self.shard.len() < before
    }

    /// Evicts one entry. Returns false if there is none that can be evicted.
    pub(super) fn evict(&mut self, limit: Limit) -> bool {
        let weight = self.evict_uncounted(limit);
        weight.inspect(|&weight| self.shard.totals.apply(Change::removed(weight)));
        weight.is_some()
    }

    /// Evicts one entry, if there is one that can be evicted. Returns its weight, which is still in the totals.
    fn evict_uncounted(&mut self, limit: Limit) -> Option<u32> {
        if !self.deferred.has_room() {
            return None;
        }
        let shard = &mut *self.shard;
        let slot = shard.policy.victim(&mut shard.slab, limit)?;
        let hash = shard.unlink_detached(slot);
        let entry = shard.slab.remove(slot)?;
        let weight = entry.node.weight;
        shard.stats.evictions += 1;
        shard.policy.on_evicted(entry.node.queue(), hash);
        self.deferred.push_entry(entry);
        // It will have arrived by the next insertion.
        if let Some(next) = shard.policy.next_victim() {
            shard.slab.prefetch_around(next);
        }
        Some(weight)
    }
}
