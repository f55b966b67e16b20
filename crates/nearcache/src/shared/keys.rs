//! Going over all keys, without a lock.

use super::cache::SharedCache;
use super::shard::Shard;
use super::store::Store;
use super::writer::is_dead;
use crate::clock::Clock;
use crate::error::OutOfMemory;

/// Iterates over the keys of live entries, in no order. What is written meanwhile may or may not be among them; a key may come
/// twice if it was removed and stored again. Made by [`SharedCache::keys`].
///
/// If there is no memory for the next key, the iterator returns an error; the next call tries again.
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
fn key_from(
    store: &Store,
    shard: &Shard<'_>,
    slot: usize,
    clock: &impl Clock,
) -> Result<Option<(Vec<u8>, usize)>, OutOfMemory> {
    for at in slot..store.geometry.slots() {
        if let Some(key) = shard.key_at(at, |record| !is_dead(record, clock))? {
            return Ok(Some((key, at + 1)));
        }
    }
    Ok(None)
}

impl<C: Clock> Iterator for Keys<C> {
    type Item = Result<Vec<u8>, OutOfMemory>;

    fn next(&mut self) -> Option<Self::Item> {
        let store = self.cache.store();
        while self.shard < store.geometry.shards {
            let shard = store.shard(self.shard);
            if !shard.is_outdated() {
                match key_from(store, &shard, self.slot, self.cache.clock()) {
                    Ok(Some((key, next))) => {
                        self.slot = next;
                        return Some(Ok(key));
                    }
                    Ok(None) => {}
                    Err(error) => return Some(Err(error)),
                }
            }
            self.shard += 1;
            self.slot = 0;
        }
        None
    }
}
