//! Going over all keys, without a lock.

use super::cache::SharedCache;
use super::shard::Shard;
use super::store::Store;
use super::writer::is_dead;
use crate::clock::Clock;

/// Iterates over the keys of live entries, in no order. What is written meanwhile may or may not be among them; a key may come
/// twice if it was removed and stored again. Made by [`SharedCache::keys`].
#[derive(Debug)]
pub struct Keys<C> {
    cache: SharedCache<C>,
    shard: usize,
    slot: usize,
}

impl<C: Clock> Keys<C> {
    pub(super) const fn new(cache: SharedCache<C>) -> Self {
        Self {
            cache,
            shard: 0,
            slot: 0,
        }
    }
}

/// The first key at or after a slot of a shard, and the slot after it.
fn key_from(store: &Store, shard: &Shard<'_>, slot: usize, clock: &impl Clock) -> Option<(Vec<u8>, usize)> {
    (slot..store.geometry.slots()).find_map(|at| {
        let key = shard.key_at(at, |record| !is_dead(record, clock))?;
        Some((key, at + 1))
    })
}

impl<C: Clock> Iterator for Keys<C> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let store = self.cache.store();
        while self.shard < store.geometry.shards {
            let shard = store.shard(self.shard);
            let found = (!shard.is_outdated())
                .then(|| key_from(store, &shard, self.slot, self.cache.clock()))
                .flatten();
            if let Some((key, next)) = found {
                self.slot = next;
                return Some(key);
            }
            self.shard += 1;
            self.slot = 0;
        }
        None
    }
}
