//! Computing a value again while there is an old one, which the other callers get meanwhile.

use super::leader::{FlightId, Leader};
use crate::clock::Timestamp;
use crate::error::OutOfMemory;
use crate::local::raw_cache::RawCache;

/// The part of a caller that has an old value of a key, and may compute the new one.
#[derive(Debug)]
#[must_use = "a leader that is dropped gives up"]
pub enum Refresh<'a, V> {
    /// The caller has to compute the new value.
    Leader(Leader<'a, V>),
    /// Another caller is computing it.
    InProgress,
    /// The entry is another one by now, or has been removed.
    Changed,
}

/// What a caller finds under the lock.
enum Found {
    Changed,
    InProgress,
    Started(Result<bool, OutOfMemory>),
}

impl<V> RawCache<V> {
    /// Lets one of all callers that have the same old value compute the new one. Never waits.
    ///
    /// `expires_at` is the expiry with which the caller saw the entry, which may be live or
    /// [stale](RawCache::get_stale). O(1), one shard lock, or two for a leader.
    pub fn refresh(&self, key: &[u8], expires_at: Timestamp) -> Refresh<'_, V> {
        let (key, id) = (self.hasher.key(key), FlightId::next());
        let found = self.with_shard(key.hash, |shard| {
            let slot = shard.slot_of(key);
            if slot.is_none_or(|slot| shard.slab.get(slot).expires_at != expires_at) {
                return Found::Changed;
            }
            if shard.flights.is_flying(key) {
                return Found::InProgress;
            }
            shard.stats.flights += 1;
            Found::Started(shard.flights.start(key, id))
        });
        match found {
            Found::Changed => Refresh::Changed,
            Found::InProgress => Refresh::InProgress,
            Found::Started(is_current) => Refresh::Leader(self.new_leader(key.hash, id, is_current)),
        }
    }

    /// Starts a flight even if the key has a value. It overtakes the one in progress, whose value may be older than the caller
    /// wants.
    pub fn overtake(&self, key: &[u8]) -> Leader<'_, V> {
        let (key, id) = (self.hasher.key(key), FlightId::next());
        let started = self.with_shard(key.hash, |shard| {
            shard.flights.overtake(key);
            shard.stats.flights += 1;
            shard.flights.start(key, id)
        });
        self.new_leader(key.hash, id, started)
    }
}
