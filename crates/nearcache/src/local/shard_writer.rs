//! The context of a write: one locked shard and what every step of the write needs.
//!
//! Nothing that runs under the lock drops a value or a key: removed entries go to `deferred`, which is dropped after the shard is
//! unlocked.

use super::capacity::Capacity;
use super::deferred_drops::DeferredDrops;
use super::raw_cache::RawCache;
use super::shard::{Shard, rebuild};
use crate::clock::Clock;
use crate::key::KeyHash;

/// A locked shard that is being changed.
///
/// Its methods are in the files of the operations: `insert.rs`, `update.rs`, `expire.rs`, `sweep.rs`, `evict.rs`.
pub(super) struct ShardWriter<'a, V, C> {
    pub(super) shard: &'a mut Shard<V>,
    /// What to drop after unlocking.
    pub(super) deferred: &'a mut DeferredDrops<V>,
    /// The capacity of the handle that writes. Operations that store nothing do not read it.
    pub(super) capacity: &'a Capacity,
    pub(super) clock: &'a C,
}

impl<V> RawCache<V> {
    /// Runs `work` on the locked shard of a hash, unlocks it, and then drops what `work` removed.
    #[allow(clippy::inline_always)] // for writes
    #[inline(always)]
    pub(super) fn write<C: Clock, R>(
        &self,
        hash: KeyHash,
        capacity: &Capacity,
        clock: &C,
        work: impl FnOnce(&mut ShardWriter<'_, V, C>) -> R,
    ) -> R {
        self.write_shard(self.shard_of(hash), capacity, clock, work)
    }

    /// Runs `work` on a locked shard, unlocks it, and then drops what `work` removed.
    #[allow(clippy::inline_always)] // for writes
    #[inline(always)]
    pub(super) fn write_shard<C: Clock, R>(
        &self,
        shard: usize,
        capacity: &Capacity,
        clock: &C,
        work: impl FnOnce(&mut ShardWriter<'_, V, C>) -> R,
    ) -> R {
        self.write_deferring(shard, &mut DeferredDrops::new(), capacity, clock, work)
    }

    /// Runs `work` on a locked shard, and leaves what it removes in `deferred`, for the caller to drop.
    #[allow(clippy::inline_always)] // for writes
    #[inline(always)]
    pub(super) fn write_deferring<C: Clock, R>(
        &self,
        shard: usize,
        deferred: &mut DeferredDrops<V>,
        capacity: &Capacity,
        clock: &C,
        work: impl FnOnce(&mut ShardWriter<'_, V, C>) -> R,
    ) -> R {
        self.shards[shard].with(rebuild, |shard| {
            work(&mut ShardWriter {
                shard,
                deferred,
                capacity,
                clock,
            })
        })
    }
}
