//! Statistics of all processes.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::cache_file::CacheFile;
use super::counters::{COUNTERS, Counter};
use super::layout::{BASELINE, READ_STRIPES, SINCE, WORD};
use super::mapped_words::{AtomicU64, store};
use super::time::{from_millis, to_millis};
use crate::clock::Timestamp;
use crate::stats::Stats;

/// Statistics of all processes since the file was created, or since [`reset_stats`](super::SharedCache::reset_stats).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharedStats {
    /// The statistics that every cache has. The `weight` is the size in bytes of all records that can be read, including
    /// their headers and padding.
    pub counts: Stats,
    /// The size of the file.
    pub capacity_bytes: u64,
    /// Bytes of records that were stored.
    pub written_bytes: u64,
    /// Bytes of records that were copied within the file to keep them.
    pub moved_bytes: u64,
    /// Locks that were taken over from processes that died while they held them.
    pub recoveries: u64,
    /// How often something in the file was found damaged.
    pub damages: u64,
    /// How often a wait for a lock timed out.
    pub timeouts: u64,
    /// Values that were found but that the caller could not use. They also count as misses.
    pub unreadable: u64,
    /// Expired values that were used in their stale time: see [`Event::StaleHit`](super::Event::StaleHit).
    pub stale_hits: u64,
    /// Values that were computed again although they could still be used: see [`Event::Refresh`](super::Event::Refresh).
    pub refreshes: u64,
    /// Refreshes that failed: see [`Event::FailedRefresh`](super::Event::FailedRefresh).
    pub failed_refreshes: u64,
    /// The time that computing would have taken instead of the hits: the sum of the costs of the entries that were hit.
    pub saved: Duration,
    /// The time since which these statistics are counted, to the millisecond.
    pub since: Timestamp,
}

/// Sums each counter over all process slots.
fn sums(file: &CacheFile) -> [u64; COUNTERS] {
    let mut sums = [0_u64; COUNTERS];
    for slot in 0..file.geometry.processes {
        let reads = (0..READ_STRIPES).map(|stripe| file.read_counters(slot, stripe));
        for words in reads.chain([file.counters(slot)]) {
            for (sum, word) in sums.iter_mut().zip(words) {
                *sum = sum.wrapping_add(word.load(Ordering::Relaxed));
            }
        }
    }
    sums
}

/// Returns the sums at the time of the last reset.
fn baseline(file: &CacheFile) -> &[AtomicU64] {
    &file.mapping.words()[BASELINE..BASELINE + COUNTERS]
}

/// Returns the number of entries and of words in their records.
fn entries_and_words(file: &CacheFile) -> (u64, u64) {
    let shards = (0..file.geometry.shards).map(|number| file.shard(number));
    shards
        .filter(|shard| !shard.is_outdated())
        .fold((0, 0), |(entries, words): (u64, u64), shard| {
            let live = shard.small.live().saturating_add(shard.main.live());
            (
                entries.saturating_add(shard.entries()),
                words.saturating_add(live),
            )
        })
}

/// Returns the statistics of all processes, living and dead.
pub(super) fn read(file: &CacheFile) -> SharedStats {
    let (sums, baseline) = (sums(file), baseline(file));
    let of = |what: Counter| {
        let before = baseline[what as usize].load(Ordering::Relaxed);
        sums[what as usize].saturating_sub(before)
    };
    let bytes = |words: u64| words.saturating_mul(WORD as u64);
    let (entries, words) = entries_and_words(file);
    SharedStats {
        counts: Stats {
            hits: of(Counter::Hits),
            misses: of(Counter::Misses),
            insertions: of(Counter::Insertions),
            removals: of(Counter::Removals),
            evictions: of(Counter::Evictions),
            expirations: of(Counter::Expirations),
            rejections: of(Counter::Rejections),
            flights: of(Counter::Flights),
            waits: of(Counter::Waits),
            entries,
            weight: bytes(words),
        },
        capacity_bytes: file.geometry.bytes,
        written_bytes: bytes(of(Counter::Written)),
        moved_bytes: bytes(of(Counter::Moved)),
        recoveries: of(Counter::Recoveries),
        damages: of(Counter::Damages),
        timeouts: of(Counter::Timeouts),
        unreadable: of(Counter::Unreadable),
        stale_hits: of(Counter::StaleHits),
        refreshes: of(Counter::Refreshes),
        failed_refreshes: of(Counter::FailedRefreshes),
        saved: Duration::from_micros(of(Counter::Saved)),
        since: from_millis(file.mapping.words()[SINCE].load(Ordering::Relaxed)),
    }
}

/// Resets the statistics of all processes: the present sums become the baseline, which is subtracted from now on.
pub(super) fn reset(file: &CacheFile, now: Timestamp) {
    for (word, sum) in baseline(file).iter().zip(sums(file)) {
        store(word, sum, Ordering::Relaxed);
    }
    store(&file.mapping.words()[SINCE], to_millis(now), Ordering::Relaxed);
}
