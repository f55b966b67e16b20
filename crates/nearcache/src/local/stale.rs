//! Stale values: expired entries that are kept for a while, for callers that would rather have an old value than wait.

use super::raw_cache::RawCache;
use crate::clock::{Clock, Timestamp};
use crate::policy::Policy;

impl<V: Clone> RawCache<V> {
    /// Returns the value of an entry that has expired and is still kept, with the time at which it expired. See
    /// [`with_stale_times`](Self::with_stale_times).
    ///
    /// O(1), one shard lock. Counts as a use, so that an entry in demand is not evicted, but neither as a hit nor as a miss.
    pub fn get_stale(&self, key: &[u8], clock: &impl Clock) -> Option<(V, Timestamp)> {
        let key = self.hasher.key(key);
        self.with_shard(key.hash, |shard| {
            let slot = shard.slot_of(key)?;
            let entry = shard.slab.get(slot);
            if !entry.has_expired(clock) || !shard.is_stale(entry, clock) {
                return None;
            }
            let found = (entry.value.clone(), entry.expires_at);
            shard.policy.hit(&mut shard.slab, slot);
            Some(found)
        })
    }
}
