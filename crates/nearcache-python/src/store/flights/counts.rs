//! The counts of `get_or_set` in this process that the engine does not keep.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What `get_or_set` did with old values, and what the cache has saved.
#[derive(Default)]
pub(crate) struct FlightCounts {
    /// Only of a store whose flights are in a table of their own.
    pub(crate) flights: AtomicU64,
    pub(crate) waits: AtomicU64,
    pub(crate) stale_hits: AtomicU64,
    pub(crate) refreshes: AtomicU64,
    pub(crate) failed_refreshes: AtomicU64,
    saved_micros: AtomicU64,
}

/// What `get_or_set` did with an old value.
#[derive(Clone, Copy)]
pub(crate) enum FlightEvent {
    StaleHit,
    Refresh,
    FailedRefresh,
}

impl FlightCounts {
    pub(crate) fn count(&self, event: FlightEvent) {
        let count = match event {
            FlightEvent::StaleHit => &self.stale_hits,
            FlightEvent::Refresh => &self.refreshes,
            FlightEvent::FailedRefresh => &self.failed_refreshes,
        };
        count.fetch_add(1, Relaxed);
    }

    /// Counts a hit of a value that took so many microseconds to compute.
    #[inline]
    pub(crate) fn count_saved(&self, cost_micros: u32) {
        if cost_micros > 0 {
            self.saved_micros.fetch_add(u64::from(cost_micros), Relaxed);
        }
    }

    /// Returns how many seconds of computing the hits have saved.
    #[allow(clippy::cast_precision_loss)] // shown to a few digits
    pub(crate) fn saved_seconds(&self) -> f64 {
        self.saved_micros.load(Relaxed) as f64 / 1e6
    }

    pub(crate) fn reset(&self) {
        for count in [
            &self.flights,
            &self.waits,
            &self.stale_hits,
            &self.refreshes,
            &self.failed_refreshes,
            &self.saved_micros,
        ] {
            count.store(0, Relaxed);
        }
    }
}
