//! What all processes counted, summed.

use std::sync::atomic::Ordering;

use super::layout::{BASELINE, READ_STRIPES, SINCE};
use super::store::{COUNTERS, Counter, Store};
use super::words::put;
use super::writer::{millis, timestamp};
use crate::clock::Timestamp;
use crate::stats::Stats;

/// Counts of the whole machine since the file was made, or since [`reset_stats`](super::SharedCache::reset_stats).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharedStats {
    /// What every cache counts. `weight` are the bytes of records that can be read, their bookkeeping included.
    pub counts: Stats,
    /// The size of the file.
    pub capacity_bytes: u64,
    /// Bytes of records that were stored.
    pub written_bytes: u64,
    /// Bytes of records that were copied within the file to keep them.
    pub moved_bytes: u64,
    /// Locks taken over from processes that died holding them.
    pub recoveries: u64,
    /// Times that something in the file was found damaged.
    pub damages: u64,
    /// Times that a lock was waited for in vain.
    pub timeouts: u64,
    /// Values that readers found and could make nothing of; counted as misses.
    pub unreadable: u64,
    /// Since when this is counted, by the wall clock, to the millisecond.
    pub since: Timestamp,
}

fn sums(store: &Store) -> [u64; COUNTERS] {
    let mut sums = [0_u64; COUNTERS];
    for slot in 0..store.geometry.processes {
        let reads = (0..READ_STRIPES).map(|stripe| store.read_counters(slot, stripe));
        for words in reads.chain([store.counters(slot)]) {
            for (sum, word) in sums.iter_mut().zip(words) {
                *sum = sum.wrapping_add(word.load(Ordering::Relaxed));
            }
        }
    }
    sums
}

/// Sums the counters of all processes, living and dead.
pub(super) fn read(store: &Store) -> SharedStats {
    let baseline = &store.map.words()[BASELINE..BASELINE + COUNTERS];
    let sums = sums(store);
    let of = |what: Counter| {
        let before = baseline[what as usize].load(Ordering::Relaxed);
        sums[what as usize].saturating_sub(before)
    };
    let (mut entries, mut words) = (0_u64, 0_u64);
    for shard in (0..store.geometry.shards).map(|number| store.shard(number)) {
        if !shard.is_outdated() {
            entries = entries.saturating_add(shard.entries());
            words = words
                .saturating_add(shard.small.live())
                .saturating_add(shard.main.live());
        }
    }
    SharedStats {
        counts: Stats {
            hits: of(Counter::Hits),
            misses: of(Counter::Misses),
            insertions: of(Counter::Insertions),
            removals: of(Counter::Removals),
            evictions: of(Counter::Evictions),
            expirations: of(Counter::Expirations),
            rejections: of(Counter::Rejections),
            entries,
            weight: words.saturating_mul(8),
        },
        capacity_bytes: store.geometry.bytes,
        written_bytes: of(Counter::Written).saturating_mul(8),
        moved_bytes: of(Counter::Moved).saturating_mul(8),
        recoveries: of(Counter::Recoveries),
        damages: of(Counter::Damages),
        timeouts: of(Counter::Timeouts),
        unreadable: of(Counter::Unreadable),
        since: timestamp(store.map.words()[SINCE].load(Ordering::Relaxed)),
    }
}

/// Has the counting begin anew, for all processes: what was counted so far is taken off.
pub(super) fn reset(store: &Store, now: Timestamp) {
    let baseline = &store.map.words()[BASELINE..BASELINE + COUNTERS];
    for (word, sum) in baseline.iter().zip(sums(store)) {
        put(word, sum, Ordering::Relaxed);
    }
    put(&store.map.words()[SINCE], millis(now), Ordering::Relaxed);
}
