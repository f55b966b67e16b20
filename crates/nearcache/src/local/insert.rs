//! Insertion: `insert` and `insert_if`, which insert new entries and replace values.
//!
//! The memory for a new entry is allocated before anything is linked, and after the evictions, because a victim leaves a free slot
//! and often the memory of its key. So a write that fails for lack of memory may have evicted entries, but has inserted nothing.

use super::capacity::Capacity;
use super::get::Lookup;
use super::raw_cache::RawCache;
use super::shard_writer::ShardWriter;
use super::slab::Entry;
use super::sweep::SweepDue;
use super::totals::Change;
use crate::clock::{Clock, Timestamp};
use crate::condition::Condition;
use crate::error::{OutOfMemory, Rejected, WriteError};
use crate::key::Key;
use crate::policy::{Node, Policy};

/// An entry to be inserted under a key.
#[derive(Clone, Copy, Debug)]
pub struct NewEntry<V> {
    /// The value.
    pub value: V,
    /// What the entry counts against [`Capacity::max_weight`].
    pub weight: u64,
    /// When the entry expires; [`Timestamp::NEVER`] if it does not.
    pub expires_at: Timestamp,
}

/// The result of an insertion into a shard.
#[derive(Clone, Copy)]
pub(super) struct Insertion {
    stored: Result<bool, WriteError>,
    /// How many entries of the batch are still to be evicted, from other shards.
    evictions_left: u64,
    sweep_due: SweepDue,
}

impl<V> RawCache<V> {
    /// Inserts an entry, and replaces the one under its key, if any. An entry that has already expired removes the old one.
    ///
    /// O(1) amortized, one shard lock, and one more for each entry that is evicted from another shard.
    ///
    /// # Errors
    ///
    /// [`WriteError`] if the entry weighs more than the capacity, or if there is no memory for it. The old entry is removed in
    /// both cases.
    pub fn insert(
        &self,
        key: &[u8],
        new: NewEntry<V>,
        capacity: &Capacity,
        clock: &impl Clock,
    ) -> Result<(), WriteError> {
        self.insert_if(key, new, Condition::Always, capacity, clock)
            .map(drop)
    }

    /// Inserts an entry if the condition holds, and returns whether it does. Atomic; otherwise like [`insert`](Self::insert).
    ///
    /// # Errors
    ///
    /// Those of [`insert`](Self::insert), if the condition holds.
    pub fn insert_if(
        &self,
        key: &[u8],
        new: NewEntry<V>,
        condition: Condition,
        capacity: &Capacity,
        clock: &impl Clock,
    ) -> Result<bool, WriteError> {
        let key = self.hasher.key(key);
        let insertion = self.write(key.hash, capacity, clock, |writer| {
            writer.insert_if(key, new, condition)
        });
        self.after_insertion(key, insertion, capacity, clock)
    }

    /// Does what is left to do after an insertion, with the shard unlocked, and returns whether the entry was stored.
    #[allow(clippy::inline_always)] // for writes
    #[inline(always)]
    pub(super) fn after_insertion(
        &self,
        key: Key<'_>,
        insertion: Insertion,
        capacity: &Capacity,
        clock: &impl Clock,
    ) -> Result<bool, WriteError> {
        let Insertion {
            stored,
            evictions_left,
            sweep_due,
        } = insertion;
        if stored != Ok(false) {
            self.enforce_capacity(key, evictions_left, capacity, clock);
        }
        self.sweep_other_shards(sweep_due, clock);
        stored
    }
}

impl<V, C: Clock> ShardWriter<'_, V, C> {
    /// Inserts an entry if the condition holds.
    #[allow(clippy::inline_always)] // for writes
    #[inline(always)]
    pub(super) fn insert_if(&mut self, key: Key<'_>, new: NewEntry<V>, condition: Condition) -> Insertion {
        let sweep_due = self.sweep();
        self.shard.policy.prefetch(key.hash);
        let mut evictions_left = 0;
        let mut found = self.shard.find(key, self.clock);
        let stored = if condition.allows(matches!(found, Lookup::Live(_))) {
            self.shard.flights.overtake(key);
            let batch = self.capacity.batch_due(self.shard.totals.entries());
            if batch > 0 {
                evictions_left = self.evict_batch(batch);
                found = self.shard.find(key, self.clock);
            }
            self.insert(key, found, new).map(|()| true)
        } else {
            self.deferred.push_value(new.value);
            Ok(false)
        };
        Insertion {
            stored,
            evictions_left,
            sweep_due,
        }
    }

    /// Inserts an entry over the one that was found under its key, if any.
    #[allow(clippy::inline_always)] // for writes
    #[inline(always)]
    fn insert(&mut self, key: Key<'_>, found: Lookup, new: NewEntry<V>) -> Result<(), WriteError> {
        let weight = Rejected::check(new.weight, self.capacity.max_weight);
        let has_expired = self.clock.has_passed(new.expires_at);
        match (weight, found) {
            (Ok(weight), Lookup::Live(slot)) if !has_expired => {
                self.replace(slot, new.value, weight);
                self.shard.set_expiry(slot, new.expires_at);
                return Ok(());
            }
            (_, Lookup::Live(slot)) => self.remove_own(slot),
            (_, Lookup::Expired(slot)) => self.expire_own(slot),
            (_, Lookup::Missing) => {}
        }
        match weight {
            Ok(weight) if !has_expired => self.insert_new(key, new, weight)?,
            Ok(_) => {
                self.shard.stats.insertions += 1;
                self.shard.stats.expirations += 1;
                self.deferred.push_value(new.value);
            }
            Err(rejected) => {
                self.shard.stats.rejections += 1;
                self.deferred.push_value(new.value);
                return Err(rejected.into());
            }
        }
        Ok(())
    }

    /// Makes room for an entry under a key that has none, and inserts it.
    fn insert_new(&mut self, key: Key<'_>, new: NewEntry<V>, weight: u32) -> Result<(), OutOfMemory> {
        let mut change = Change::added(weight);
        let has_fair_share = self.shard.has_fair_share();
        if has_fair_share {
            change = self.evict_ahead(change);
        }
        // After the evictions, which may have freed a slot and the memory of a key.
        let reserved = self.shard.try_reserve();
        let stored_key = match reserved.and_then(|()| self.deferred.new_key(key.bytes)) {
            Ok(stored_key) => stored_key,
            Err(error) => {
                self.shard.totals.apply(change.plus(Change::removed(weight)));
                self.deferred.push_value(new.value);
                return Err(error);
            }
        };
        // Before the insertion, so that two writers in two shards cannot both take the last room.
        self.shard.totals.apply(change);
        if change.is_growth() && has_fair_share {
            self.make_room();
        }
        self.shard.link(
            key,
            Entry {
                node: Node::new(weight, self.shard.stamp),
                expires_at: new.expires_at,
                key: stored_key,
                value: new.value,
            },
        );
        Ok(())
    }

    /// Replaces the value of an entry. Makes room if the new one is heavier. Counts as a use.
    #[allow(clippy::inline_always)] // for writes
    #[inline(always)]
    pub(super) fn replace(&mut self, slot: u32, value: V, weight: u32) {
        if weight != self.shard.slab.get(slot).node.weight {
            self.reweigh(slot, weight);
        }
        let shard = &mut *self.shard;
        shard.policy.hit(&mut shard.slab, slot);
        shard.stats.insertions += 1;
        let entry = shard.slab.get_mut(slot);
        entry.node.set_stamp(shard.stamp);
        shard.stamp = shard.stamp.next();
        self.deferred
            .push_value(std::mem::replace(&mut entry.value, value));
    }

    /// Changes the weight of an entry. Makes room if it grows.
    #[inline(never)]
    fn reweigh(&mut self, slot: u32, weight: u32) {
        let shard = &mut *self.shard;
        // Detached, so that the entry is not evicted to make room for itself.
        shard.policy.detach(&mut shard.slab, slot);
        let old_weight = std::mem::replace(&mut shard.slab.get_mut(slot).node.weight, weight);
        shard.totals.apply(Change::reweighed(old_weight, weight));
        shard.weight = shard.weight - u64::from(old_weight) + u64::from(weight);
        self.make_room();
        self.shard.policy.attach(&mut self.shard.slab, slot);
    }
}
