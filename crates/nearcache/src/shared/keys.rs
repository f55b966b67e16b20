//! Iteration over the keys.

use super::cache::SharedCache;
use super::cache_file::CacheFile;
use super::record::Record;
use super::shard::Shard;
use super::time::has_expired;
use crate::clock::Clock;
use crate::error::OutOfMemory;

/// An iterator over keys, in no particular order. Created by [`SharedCache::keys`] and [`SharedCache::all_keys`].
///
/// It takes no lock. Entries that are written or removed during the iteration may or may not be included; a key that is
/// removed and inserted again may come twice.
///
/// If no memory is available for the next key, the iterator returns [`OutOfMemory`], and the next call tries again.
#[derive(Debug)]
pub struct Keys<C> {
    cache: SharedCache<C>,
    scope: Scope,
    shard: usize,
    slot: usize,
}

/// Which keys an iteration returns.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scope {
    /// Those of live entries.
    Live,
    /// Those of all records, also of expired entries and placeholders.
    All,
}

impl<C: Clock> Keys<C> {
    pub(super) const fn new(cache: SharedCache<C>, scope: Scope) -> Self {
        Self {
            cache,
            scope,
            shard: 0,
            slot: 0,
        }
    }
}

impl Scope {
    fn includes(self, record: &Record, clock: &impl Clock) -> bool {
        match self {
            Self::Live => !has_expired(record, clock),
            Self::All => true,
        }
    }
}

/// Returns the first key at or after a slot of a shard, and the number of the slot after it.
fn key_from(
    file: &CacheFile,
    shard: &Shard<'_>,
    slot: usize,
    is_wanted: impl Fn(&Record) -> bool,
) -> Result<Option<(Vec<u8>, usize)>, OutOfMemory> {
    for at in slot..file.geometry.slots() {
        if let Some(key) = shard.key_at(at, &is_wanted)? {
            return Ok(Some((key, at + 1)));
        }
    }
    Ok(None)
}

impl<C: Clock> Iterator for Keys<C> {
    type Item = Result<Vec<u8>, OutOfMemory>;

    fn next(&mut self) -> Option<Self::Item> {
        let (file, scope, clock) = (self.cache.file(), self.scope, self.cache.clock());
        while self.shard < file.geometry.shards {
            let shard = file.shard(self.shard);
            if !shard.is_outdated() {
                match key_from(file, &shard, self.slot, |record| scope.includes(record, clock)) {
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
