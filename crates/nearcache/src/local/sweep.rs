//! Sweeping: every write looks at a few slots for expired entries, so that these are removed although nobody reads them.
//!
//! There is no thread and no timer. A write looks at the next [`STEPS`] slots of its shard, in turn. After every
//! [`WRITES_PER_OTHER_SWEEP`] writes of one shard other shards are swept too, so that a program which writes only one key still
//! gets back what expired elsewhere.

use std::sync::atomic::Ordering;

use super::capacity::Capacity;
use super::raw_cache::RawCache;
use super::shard_writer::ShardWriter;
use super::slab::Entry;
use crate::clock::{Clock, Timestamp};

/// How many slots of its shard a write looks at. An expired entry stays for at most a quarter as many writes as the shard has slots, and
/// expired entries are at most an eighth of all on average.
const STEPS: usize = 4;
const WRITES_PER_OTHER_SWEEP: u32 = 64;
/// How many slots of other shards a write looks at when that is due.
const OTHER_SHARD_STEPS: usize = 256;
/// The steps that a swept shard counts as at least, because locking it takes time too.
const MIN_STEPS_PER_SHARD: usize = 16;

/// Whether the writer has to sweep other shards after it has unlocked its own.
#[derive(Clone, Copy)]
#[must_use]
pub(super) struct SweepDue(bool);

impl<V> RawCache<V> {
    /// Sweeps other shards if a write found that due.
    #[inline]
    pub(super) fn sweep_other_shards(&self, SweepDue(due): SweepDue, clock: &impl Clock) {
        if due && self.shards.len() > 1 {
            self.sweep_next_shards(clock);
        }
    }

    /// Sweeps the next shards, as many as have [`OTHER_SHARD_STEPS`] slots together.
    #[cold]
    fn sweep_next_shards(&self, clock: &impl Clock) {
        let now = clock.now();
        let mut left = OTHER_SHARD_STEPS;
        while left > 0 {
            let shard = self.next_shard.fetch_add(1, Ordering::Relaxed) % self.shards.len();
            let swept = self.write_shard(shard, &Capacity::UNBOUNDED, clock, |writer| {
                writer.sweep_slots(left, now)
            });
            left = left.saturating_sub(swept.max(MIN_STEPS_PER_SHARD));
        }
    }
}

impl<V, C: Clock> ShardWriter<'_, V, C> {
    /// Removes the expired entries among the next few slots, as part of a write.
    #[inline]
    pub(super) fn sweep(&mut self) -> SweepDue {
        if self.shard.expiring > 0 {
            self.sweep_slots(STEPS, self.clock.now());
        }
        self.shard.writes = self.shard.writes.wrapping_add(1);
        SweepDue(self.shard.writes.is_multiple_of(WRITES_PER_OTHER_SWEEP))
    }

    /// Removes the expired entries among the next `steps` slots, and returns how many slots it looked at.
    #[inline(never)]
    fn sweep_slots(&mut self, steps: usize, now: Timestamp) -> usize {
        if self.shard.expiring == 0 {
            return 0;
        }
        let slots = self.shard.slab.slots();
        let steps = steps.min(slots);
        for _ in 0..steps {
            let cursor = self.shard.sweep_cursor;
            let slot = if (cursor as usize) < slots { cursor } else { 0 };
            self.shard.sweep_cursor = slot + 1;
            let entry = self.shard.slab.occupied(slot);
            let is_over =
                |entry: &Entry<V>| entry.expires_at.is_over(now) && !self.shard.is_stale(entry, &now);
            if entry.is_some_and(is_over) && self.deferred.has_room() {
                self.expire(slot);
            }
        }
        steps
    }
}
