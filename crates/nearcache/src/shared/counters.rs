//! Counters of operations and events.
//!
//! Each process adds to the counters in its own process slot, so processes do not write each other's cache lines. Hits and
//! misses are also spread over stripes within the slot, so that the threads of a process seldom write the same cache line.
//! `stats.rs` sums all of them. Counters are statistics: nothing depends on their values.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::cache_file::CacheFile;
use super::layout::{PROCESS_COUNTERS, PROCESS_READS, READ_STRIPE, READ_STRIPES};
use super::mapped_words::{AtomicU64, add};
use super::process_slot::ProcessSlot;

/// An event that is counted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Counter {
    Hits,
    Misses,
    /// Microseconds that computing the values of hits had taken.
    Saved,
    Insertions,
    Removals,
    Evictions,
    Expirations,
    Rejections,
    /// Words of records that were copied within the rings.
    Moved,
    /// Words of records that were written.
    Written,
    /// Locks that were taken over from dead processes.
    Recoveries,
    /// Damaged words that were found.
    Damages,
    /// Waits for a lock that timed out.
    Timeouts,
    /// Values that were found and that the caller could not use.
    Unreadable,
    /// Flights that began.
    Flights,
    /// Callers that waited for a flight.
    Waits,
    /// Expired values that were used in their stale time.
    StaleHits,
    /// Values that were computed again before their stale time ended.
    Refreshes,
    /// Refreshes that failed.
    FailedRefreshes,
}

/// An event that only the caller of the cache sees: see [`SharedCache::count`](super::SharedCache::count).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Event {
    /// A caller waited for a flight.
    Wait,
    /// An expired value was used in its stale time.
    StaleHit,
    /// A value was computed again although it could still be used.
    Refresh,
    /// The computation of a refresh failed.
    FailedRefresh,
}

impl Event {
    pub(super) const fn counter(self) -> Counter {
        match self {
            Self::Wait => Counter::Waits,
            Self::StaleHit => Counter::StaleHits,
            Self::Refresh => Counter::Refreshes,
            Self::FailedRefresh => Counter::FailedRefreshes,
        }
    }
}

/// The number of counters.
pub(super) const COUNTERS: usize = Counter::FailedRefreshes as usize + 1;
/// The number of counters that are striped: those of reads, which come first.
const READ_COUNTERS: usize = Counter::Saved as usize + 1;

thread_local! {
    /// The stripe of this thread, plus one; 0 before its first read.
    static STRIPE: Cell<usize> = const { Cell::new(0) };
}

/// Returns the stripe in which this thread counts its reads. Stripes are assigned in turn.
#[inline]
fn stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    // The thread-local value of a thread that is ending has been destroyed.
    let assigned = STRIPE.try_with(Cell::get).unwrap_or(1);
    if assigned != 0 {
        return assigned - 1;
    }
    let stripe = NEXT.fetch_add(1, Ordering::Relaxed) % READ_STRIPES;
    STRIPE.try_with(|cell| cell.set(stripe + 1)).ok();
    stripe
}

impl CacheFile {
    /// Returns the hits, the misses and the saved time that a stripe of a process slot counts.
    #[inline]
    pub(super) fn read_counters(&self, slot: usize, stripe: usize) -> &[AtomicU64] {
        let start = self.geometry.process(slot) + PROCESS_READS + stripe * READ_STRIPE;
        &self.mapping.words()[start..][..READ_COUNTERS]
    }

    /// Returns the other counters of a process slot. Its words for those of reads are unused.
    #[inline]
    pub(super) fn counters(&self, slot: usize) -> &[AtomicU64] {
        &self.mapping.words()[self.geometry.process(slot) + PROCESS_COUNTERS..][..COUNTERS]
    }

    /// Adds to a counter of this process.
    #[inline]
    pub(super) fn count(&self, what: Counter, more: u64) {
        match self.registration.current() {
            Some(slot) => self.count_in(slot, what, more),
            None => self.count_unregistered(what, more),
        }
    }

    #[inline]
    fn count_in(&self, slot: &ProcessSlot, what: Counter, more: u64) {
        let words = match what {
            Counter::Hits | Counter::Misses | Counter::Saved => self.read_counters(slot.number, stripe()),
            _ => self.counters(slot.number),
        };
        add(&words[what as usize], more, Ordering::Relaxed);
    }

    /// Counts if this process can take a process slot. If it cannot, nothing is counted, and writes report the error.
    #[cold]
    fn count_unregistered(&self, what: Counter, more: u64) {
        if !self.registration.may_retry() {
            return;
        }
        if let Ok(slot) = self.process_slot() {
            self.count_in(slot, what, more);
        }
    }
}
