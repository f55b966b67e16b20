//! Reads: the search for a key in a shard, `get`, and the reads that do not count.
//!
//! A hit touches one cache line of its shard, the lock's. It marks the entry as used in place, so it changes no list (except in LRU).

use super::index::{Index, MayHaveOverflowed, SlotMatcher};
use super::raw_cache::RawCache;
use super::shard::Shard;
use super::slab::{Entry, Slab};
use crate::clock::{Clock, Timestamp};
use crate::key::{Key, KeyHash};
use crate::policy::Policy;

/// The result of a search: the slot of a live or of an expired entry, or none.
#[derive(Clone, Copy)]
pub(super) enum Lookup {
    Live(u32),
    Expired(u32),
    Missing,
}

impl<V> RawCache<V> {
    /// Returns the value of a live entry. Counts as a use and in the statistics.
    ///
    /// O(1), one shard lock. The value is cloned under the lock, so cloning should be cheap.
    pub fn get(&self, key: &[u8], clock: &impl Clock) -> Option<V>
    where
        V: Clone,
    {
        self.get_with(key, clock, V::clone)
    }

    /// Returns what `read` makes of a live entry's value. Otherwise like [`get`](Self::get).
    ///
    /// `read` runs under the lock, so it has to be quick and must not use the cache.
    pub fn get_with<T>(&self, key: &[u8], clock: &impl Clock, read: impl FnOnce(&V) -> T) -> Option<T> {
        let key = self.hasher.key(key);
        // The value of an expired entry is dropped here, after unlocking.
        self.with_shard(key.hash, move |shard| {
            shard.get_with(key, clock, |entry| read(&entry.value))
        })
        .ok()
    }

    /// Returns what `read` makes of a live entry's value and expiry. Otherwise like [`get_with`](Self::get_with).
    pub fn get_with_expiry<T>(
        &self,
        key: &[u8],
        clock: &impl Clock,
        read: impl FnOnce(&V, Timestamp) -> T,
    ) -> Option<T> {
        let key = self.hasher.key(key);
        self.with_shard(key.hash, move |shard| {
            shard.get_with(key, clock, |entry| read(&entry.value, entry.expires_at))
        })
        .ok()
    }

    /// Returns whether there is a live entry. O(1), one shard lock. Counts neither as a use nor in the statistics.
    pub fn contains(&self, key: &[u8], clock: &impl Clock) -> bool {
        self.expires_at(key, clock).is_some()
    }

    /// Returns when a live entry expires, or `None` if there is no live entry. [`Timestamp::NEVER`] means that it does not
    /// expire.
    ///
    /// O(1), one shard lock. Counts neither as a use nor in the statistics.
    pub fn expires_at(&self, key: &[u8], clock: &impl Clock) -> Option<Timestamp> {
        let key = self.hasher.key(key);
        let shard = self.lock(key.hash);
        match shard.find(key, clock) {
            Lookup::Live(slot) => Some(shard.slab.get(slot).expires_at),
            Lookup::Expired(_) | Lookup::Missing => None,
        }
    }
}

impl<V> Shard<V> {
    /// Searches a key. Reads the clock only for an entry that can expire.
    #[allow(clippy::inline_always)] // for writes
    #[inline(always)]
    pub(super) fn find(&self, key: Key<'_>, clock: &impl Clock) -> Lookup {
        match look_up(&self.index, &self.slab, key) {
            Some((slot, entry)) if entry.has_expired(clock) => Lookup::Expired(slot),
            Some((slot, _)) => Lookup::Live(slot),
            None => Lookup::Missing,
        }
    }

    /// Returns the slot of a key's entry, live or expired.
    pub(super) fn slot_of(&self, key: Key<'_>) -> Option<u32> {
        look_up(&self.index, &self.slab, key).map(|(slot, _)| slot)
    }

    /// Returns what `read` makes of a live entry's value, and counts a hit and a use. Otherwise counts a miss, and returns the
    /// value of the expired entry, if there was one, to be dropped after unlocking.
    #[allow(clippy::inline_always)] // for `get`
    #[inline(always)]
    fn get_with<T>(
        &mut self,
        key: Key<'_>,
        clock: &impl Clock,
        read: impl FnOnce(&Entry<V>) -> T,
    ) -> Result<T, Option<V>> {
        let Some((slot, entry)) = look_up(&self.index, &self.slab, key) else {
            self.misses += 1;
            return Err(None);
        };
        if entry.has_expired(clock) {
            self.misses += 1;
            return Err(self.remove_unless_stale(slot, clock).map(|entry| entry.value));
        }
        self.hits += 1;
        let result = read(entry);
        if self.policy.hit_only_counts() {
            entry.node.count_use();
        } else {
            self.policy.hit(&mut self.slab, slot);
        }
        Ok(result)
    }
}

/// Returns the entry of a key, live or expired, with its slot.
#[allow(clippy::inline_always)] // for `get`
#[inline(always)]
fn look_up<'a, V>(index: &Index, slab: &'a Slab<V>, key: Key<'_>) -> Option<(u32, &'a Entry<V>)> {
    match index.find(key.hash, &KeyMatcher(key.bytes, slab)) {
        Ok(found) => Some(found),
        Err(MayHaveOverflowed(false)) => None,
        Err(MayHaveOverflowed(true)) => look_up_overflowed(index, slab, key.bytes, key.hash),
    }
}

/// Searches the buckets that the key's home bucket overflowed into. (Takes the parts of the key, which stay in registers.)
#[cold]
#[inline(never)]
fn look_up_overflowed<'a, V>(
    index: &Index,
    slab: &'a Slab<V>,
    key: &[u8],
    hash: KeyHash,
) -> Option<(u32, &'a Entry<V>)> {
    index.find_overflowed(hash, &KeyMatcher(key, slab))
}

/// Matches the slot whose entry has a key.
struct KeyMatcher<'a, 'k, V>(&'k [u8], &'a Slab<V>);

impl<'a, V> SlotMatcher for KeyMatcher<'a, '_, V> {
    type Match = (u32, &'a Entry<V>);

    #[allow(clippy::inline_always)] // for `get`
    #[inline(always)]
    fn match_slot(&self, slot: u32) -> Option<Self::Match> {
        let Self(key, slab) = self;
        let entry = slab.get(slot);
        entry.key.equals(key).then_some((slot, entry))
    }
}
