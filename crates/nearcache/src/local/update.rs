//! Optimistic operations: `update`, `remove_if` and `expire_if`, whose functions run with nothing locked.
//!
//! Each takes a [`Snapshot`] of the live entry, calls the caller's function, and then acts on the entry only if it still has the
//! snapshot's version. Otherwise another writer was faster, and the operation starts again.

use super::capacity::Capacity;
use super::get::Lookup;
use super::raw_cache::RawCache;
use super::shard::{Shard, Version};
use super::shard_writer::ShardWriter;
use crate::clock::{Clock, Timestamp};
use crate::error::{Rejected, UpdateError};
use crate::key::Key;

/// How often an operation starts again because another writer was faster. Chance alone does not reach it.
const MAX_ATTEMPTS: u32 = 10_000;

/// A copy of a live entry.
struct Snapshot<V> {
    value: V,
    expires_at: Timestamp,
    version: Version,
}

impl<V: Clone> RawCache<V> {
    /// Replaces a value by what `function` makes of it, and returns whether there was a live entry. Atomic; keeps the expiry.
    ///
    /// `function` returns the new value and its weight. It runs with nothing locked, and again if another writer was faster. O(1)
    /// amortized, two shard locks an attempt. Counts as a use, but not as a hit.
    ///
    /// # Errors
    ///
    /// - [`UpdateError::Function`] if `function` fails; the old value stays.
    /// - [`UpdateError::Rejected`] if the new value weighs more than the capacity; the entry is removed.
    /// - [`UpdateError::Overtaken`] if the key was written during each of ten thousand attempts, by other writers or by `function`
    ///   itself.
    pub fn update<E>(
        &self,
        key: &[u8],
        capacity: &Capacity,
        clock: &impl Clock,
        mut function: impl FnMut(V) -> Result<(V, u64), E>,
    ) -> Result<bool, UpdateError<E>> {
        let key = self.hasher.key(key);
        for _ in 0..MAX_ATTEMPTS {
            let Some(snapshot) = self.snapshot(key, clock) else {
                return Ok(false);
            };
            let new = function(snapshot.value).map_err(UpdateError::Function)?;
            let (replaced, sweep_due) = self.write(key.hash, capacity, clock, |writer| {
                let replaced = writer.replace_if_unchanged(key, snapshot.version, new);
                (replaced, writer.sweep())
            });
            self.sweep_other_shards(sweep_due, clock);
            if replaced? {
                self.enforce_capacity(key, 0, capacity, clock);
                return Ok(true);
            }
        }
        Err(UpdateError::Overtaken {
            attempts: MAX_ATTEMPTS,
        })
    }

    /// Removes a live entry if `condition` holds of its value, and returns the value in that case. Atomic.
    ///
    /// `condition` runs with nothing locked, and again if another writer was faster, up to ten thousand times; it must not write
    /// the key itself. O(1), two shard locks an attempt.
    pub fn remove_if(
        &self,
        key: &[u8],
        clock: &impl Clock,
        mut condition: impl FnMut(&V) -> bool,
    ) -> Option<V> {
        let key = self.hasher.key(key);
        for _ in 0..MAX_ATTEMPTS {
            let snapshot = self
                .snapshot(key, clock)
                .filter(|snapshot| condition(&snapshot.value))?;
            let mut shard = self.lock(key.hash);
            if let Some(slot) = shard.slot_if_unchanged(snapshot.version) {
                shard.stats.removals += 1;
                shard.flights.overtake(key);
                let removed = shard.remove(slot);
                drop(shard);
                return removed.map(|entry| entry.value);
            }
        }
        None
    }

    /// Sets when a live entry expires to what `expiry` makes of its value and present expiry, unless that is `None`. Returns
    /// whether it was set. Atomic.
    ///
    /// `expiry` runs as the condition of [`remove_if`](Self::remove_if) does. O(1), two shard locks an attempt. Not a use.
    pub fn expire_if(
        &self,
        key: &[u8],
        clock: &impl Clock,
        mut expiry: impl FnMut(&V, Timestamp) -> Option<Timestamp>,
    ) -> bool {
        let key = self.hasher.key(key);
        for _ in 0..MAX_ATTEMPTS {
            let snapshot = self.snapshot(key, clock);
            let wanted = snapshot
                .and_then(|snapshot| Some((snapshot.version, expiry(&snapshot.value, snapshot.expires_at)?)));
            let Some((version, expires_at)) = wanted else {
                return false;
            };
            let done = self.write(key.hash, &Capacity::UNBOUNDED, clock, |writer| {
                let slot = writer.shard.slot_if_unchanged(version);
                slot.inspect(|&slot| writer.set_expiry_or_expire(key, slot, expires_at))
                    .is_some()
            });
            if done {
                return true;
            }
        }
        false
    }

    /// Copies a live entry. O(1), one shard lock.
    fn snapshot(&self, key: Key<'_>, clock: &impl Clock) -> Option<Snapshot<V>> {
        let shard = self.lock(key.hash);
        let Lookup::Live(slot) = shard.find(key, clock) else {
            return None;
        };
        let entry = shard.slab.get(slot);
        Some(Snapshot {
            value: entry.value.clone(),
            expires_at: entry.expires_at,
            version: Version {
                slot,
                stamp: entry.node.stamp(),
            },
        })
    }
}

impl<V> Shard<V> {
    /// Returns the slot of a version, if its value has been neither replaced nor removed.
    fn slot_if_unchanged(&self, Version { slot, stamp }: Version) -> Option<u32> {
        let entry = self.slab.occupied(slot)?;
        (entry.node.stamp() == stamp).then_some(slot)
    }
}

impl<V, C: Clock> ShardWriter<'_, V, C> {
    /// Replaces a value if it is unchanged, and returns whether it is. Keeps the expiry.
    fn replace_if_unchanged(
        &mut self,
        key: Key<'_>,
        version: Version,
        (value, weight): (V, u64),
    ) -> Result<bool, Rejected> {
        let Some(slot) = self.shard.slot_if_unchanged(version) else {
            self.deferred.push_value(value);
            return Ok(false);
        };
        self.shard.flights.overtake(key);
        match Rejected::check(weight, self.capacity.max_weight) {
            Ok(weight) => {
                self.replace(slot, value, weight);
                Ok(true)
            }
            Err(rejected) => {
                self.shard.stats.rejections += 1;
                self.deferred.push_value(value);
                self.remove_own(slot);
                Err(rejected)
            }
        }
    }
}
