//! Going over all keys, without a lock.

use super::cache::SharedCache;
use super::shard::Shard;
use super::store::Store;
use super::writer::is_dead;
use crate::clock::Clock;

/// Iterates over the keys of live entries, in no order. What is written meanwhile may or may not be among them; a key may come
/// twice if it was removed and stored again. Made by [`SharedCache::keys`].
#[derive(Debug)]
pub struct Keys<'a, C> {
    cache: &'a SharedCache<C>,
    shard: usize,
    slot: usize,
}

impl<'a, C: Clock> Keys<'a, C> {
    pub(super) const fn new(cache: &'a SharedCache<C>) -> Self {
        Self {
            cache,
            shard: 0,
            slot: 0,
        }
    }

    fn next_in(&mut self, store: &Store, shard: &Shard<'_>) -> Option<Vec<u8>> {
        while self.slot < store.geometry.slots() {
            let key = shard.key_at(self.slot, |record| !is_dead(record, self.cache.clock()));
            self.slot += 1;
            if key.is_some() {
                return key;
            }
        }
        None
    }
}

impl<C: Clock> Iterator for Keys<'_, C> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let store = self.cache.store();
        while self.shard < store.geometry.shards {
            let shard = store.shard(self.shard);
            let found = (!shard.is_outdated())
                .then(|| self.next_in(store, &shard))
                .flatten();
            if found.is_some() {
                return found;
            }
            self.shard += 1;
            self.slot = 0;
        }
        None
    }
}
