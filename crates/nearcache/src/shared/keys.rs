//! Iteration over the keys.

use super::cache::SharedCache;
use super::cache_file::CacheFile;
use super::shard::Shard;
use super::time::has_expired;
use crate::clock::Clock;
use crate::error::OutOfMemory;

/// An iterator over the keys of live entries, in no particular order. Created by [`SharedCache::keys`].
///
/// It takes no lock. Entries that are written or removed during the iteration may or may not be included; a key that is
/// removed and inserted again may come twice.
///
/// If no memory is available for the next key, the iterator returns [`OutOfMemory`], and the next call tries again.
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

/// Returns the first key at or after a slot of a shard, and the number of the slot after it.
fn key_from(
    file: &CacheFile,
    shard: &Shard<'_>,
    slot: usize,
    clock: &impl Clock,
) -> Result<Option<(Vec<u8>, usize)>, OutOfMemory> {
    for at in slot..file.geometry.slots() {
        if let Some(key) = shard.key_at(at, |record| !has_expired(record, clock))? {
            return Ok(Some((key, at + 1)));
        }
    }
    Ok(None)
}

impl<C: Clock> Iterator for Keys<C> {
    type Item = Result<Vec<u8>, OutOfMemory>;

    fn next(&mut self) -> Option<Self::Item> {
        let file = self.cache.file();
        while self.shard < file.geometry.shards {
            let shard = file.shard(self.shard);
            if !shard.is_outdated() {
                match key_from(file, &shard, self.slot, self.cache.clock()) {
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
