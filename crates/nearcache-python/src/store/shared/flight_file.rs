//! The file as one of flights: for those of its own entries, and for those of a `TieredCache`, whose entries are elsewhere.

use nearcache::shared::{FlightId, Keys, SharedCache, SharedError};
use pyo3::prelude::*;

use super::super::flights::FlightFile;
use super::access::{SharedStore, with_clock};
use crate::clock::Now;

/// The longest key whose flight is in a file without values, which is small.
const LONGEST_KEY: usize = 2048;

impl FlightFile for SharedStore {
    fn release(&self, key: &[u8], number: u64, now: Now) {
        let mapped = self.file.mapped();
        let release = |cache: &SharedCache<Now>| with_clock(cache, now, |cache| cache.release(key, number));
        if let Err(SharedError::Busy { .. }) = release(&mapped.cache_without_waiting) {
            // Other threads run meanwhile. At the interpreter's end there is no GIL.
            let waited = Python::try_attach(|py| py.detach(|| release(&mapped.cache)));
            // If it fails, waiters overtake the flight after their timeout.
            waited.unwrap_or_else(|| release(&mapped.cache)).ok();
        }
    }

    fn is_in_progress(&self, key: &[u8], flight: FlightId, now: Now) -> bool {
        self.with(now, |cache| {
            cache.flight(key) == Some(flight) && cache.is_alive(flight.process)
        })
    }
}

impl SharedStore {
    /// Returns whether a file without values takes the flight of this key.
    pub(crate) const fn takes(key: &[u8]) -> bool {
        key.len() <= LONGEST_KEY
    }

    /// Returns whether a flight of this process is in progress.
    pub(crate) fn is_led(&self, key: &[u8], number: u64) -> bool {
        self.with(Now::System, |cache| {
            let own = cache.own_flight(number).ok();
            own.is_some() && cache.flight(key) == own
        })
    }

    /// Iterates over the keys that may have a flight.
    pub(crate) fn flight_keys(&self) -> Keys<Now> {
        self.with(Now::System, SharedCache::all_keys)
    }

    /// Ends the flight of a key, also if another process leads it. One lookup if there is none.
    pub(crate) fn end_flight(&self, py: Python<'_>, key: &[u8]) {
        if self.with(Now::System, |cache| cache.flight(key)).is_some() {
            // If it fails, another process holds the lock and does not go on; the flight ends by its timeout.
            self.write(py, Now::System, |cache| cache.remove(key)).ok();
        }
    }
}
