//! Removal: `remove` and `clear`, and the removal of one entry from a shard.

use super::capacity::Capacity;
use super::get::Lookup;
use super::raw_cache::{RawCache, lock};
use super::shard_writer::ShardWriter;
use crate::clock::Clock;

impl<V> RawCache<V> {
    /// Removes an entry, and returns its value if it was live. O(1), one shard lock.
    pub fn remove(&self, key: &[u8], clock: &impl Clock) -> Option<V> {
        let key = self.hasher.key(key);
        let (removed, sweep_due) = self.write(key.hash, &Capacity::UNBOUNDED, clock, |writer| {
            writer.shard.flights.overtake(key);
            let removed = match writer.shard.find(key, clock) {
                Lookup::Live(slot) => {
                    writer.shard.stats.removals += 1;
                    writer.shard.remove(slot)
                }
                Lookup::Expired(slot) => {
                    writer.expire_own(slot);
                    None
                }
                Lookup::Missing => None,
            };
            (removed, writer.sweep())
        });
        self.sweep_other_shards(sweep_due, clock);
        removed.map(|entry| entry.value)
    }

    /// Removes all entries and frees their memory. O(1) under each shard's lock in turn; dropping the entries, O(n), happens
    /// outside of the locks.
    pub fn clear(&self) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.stats.removals += shard.len() as u64;
            let removed = shard.take_all();
            drop(shard);
            drop(removed);
        }
    }
}

impl<V, C: Clock> ShardWriter<'_, V, C> {
    /// Removes the entry of the operation's own key.
    pub(super) fn remove_own(&mut self, slot: u32) {
        if let Some(entry) = self.shard.remove(slot) {
            self.deferred.push_own_entry(entry);
        }
    }
}
