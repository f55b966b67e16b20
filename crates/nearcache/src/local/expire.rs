//! Expiry: `expire_at`, and the removal of expired entries.

use super::capacity::Capacity;
use super::get::Lookup;
use super::raw_cache::RawCache;
use super::shard::Shard;
use super::shard_writer::ShardWriter;
use super::slab::Entry;
use crate::clock::{Clock, Timestamp};
use crate::key::Key;

impl<V> RawCache<V> {
    /// Sets when a live entry expires, and returns whether there was one. A time that has passed removes the entry.
    ///
    /// O(1), one shard lock. Not a use.
    pub fn expire_at(&self, key: &[u8], expires_at: Timestamp, clock: &impl Clock) -> bool {
        let key = self.hasher.key(key);
        let (found, sweep_due) = self.write(key.hash, &Capacity::UNBOUNDED, clock, |writer| {
            let found = writer.shard.find(key, clock);
            match found {
                Lookup::Live(slot) => writer.set_expiry_or_expire(key, slot, expires_at),
                Lookup::Expired(slot) => writer.expire_own_unless_stale(slot),
                Lookup::Missing => {}
            }
            (found, writer.sweep())
        });
        self.sweep_other_shards(sweep_due, clock);
        matches!(found, Lookup::Live(_))
    }
}

impl<V> Shard<V> {
    /// Sets when an entry expires.
    pub(super) fn set_expiry(&mut self, slot: u32, expires_at: Timestamp) {
        let old = std::mem::replace(&mut self.slab.get_mut(slot).expires_at, expires_at);
        self.expiring += usize::from(expires_at != Timestamp::NEVER);
        self.expiring -= usize::from(old != Timestamp::NEVER);
    }

    /// Removes an expired entry and returns it, unless its value is kept as a stale one.
    #[cold]
    pub(super) fn remove_unless_stale(&mut self, slot: u32, clock: &impl Clock) -> Option<Entry<V>> {
        let is_stale = self.is_stale(self.slab.get(slot), clock);
        if is_stale { None } else { self.remove_expired(slot) }
    }

    /// Removes an expired entry and returns it.
    #[cold]
    pub(super) fn remove_expired(&mut self, slot: u32) -> Option<Entry<V>> {
        self.stats.expirations += 1;
        self.remove(slot)
    }
}

impl<V, C: Clock> ShardWriter<'_, V, C> {
    /// Sets when the entry of the operation's own key expires. Removes it if that time has passed.
    pub(super) fn set_expiry_or_expire(&mut self, key: Key<'_>, slot: u32, expires_at: Timestamp) {
        if self.clock.has_passed(expires_at) {
            self.shard.flights.overtake(key);
            self.expire_own(slot);
        } else {
            self.shard.set_expiry(slot, expires_at);
        }
    }

    /// Removes the entry of the operation's own key, which has expired.
    #[cold]
    pub(super) fn expire_own(&mut self, slot: u32) {
        if let Some(entry) = self.shard.remove_expired(slot) {
            self.deferred.push_own_entry(entry);
        }
    }

    /// Removes the entry of the operation's own key, which has expired, unless its value is kept as a stale one.
    #[cold]
    pub(super) fn expire_own_unless_stale(&mut self, slot: u32) {
        if let Some(entry) = self.shard.remove_unless_stale(slot, self.clock) {
            self.deferred.push_own_entry(entry);
        }
    }

    /// Removes the entry of another key, which has expired. The caller has checked that `deferred` has room.
    #[cold]
    pub(super) fn expire(&mut self, slot: u32) {
        if let Some(entry) = self.shard.remove_expired(slot) {
            self.deferred.push_entry(entry);
        }
    }
}
