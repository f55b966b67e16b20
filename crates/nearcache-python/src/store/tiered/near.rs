//! The near tier: copies of remote entries in this process or in the machine's shared file.
//!
//! `nearcache_remote::near` says when a copy is valid. Invalid copies stay until they are overwritten or evicted.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use nearcache::Condition;
use nearcache::local::{Capacity, NewEntry, RawCache};
use nearcache_remote::near::{BootTime, Listener, NearState, OpenGate, Stamp, Stripe};
use pyo3::prelude::*;

#[cfg(shared)]
use super::near_shared;
use super::requests::RemoteEntry;
use crate::glob::Glob;
use crate::store::flights::ProcessFlights;
use crate::store::near_copy::{Mark, NearCopy, engine_time};
#[cfg(shared)]
use crate::store::shared::SharedStore;
use crate::store::weight::weight;
use crate::values::{Encoded, Timing};

/// Where the copies are.
pub(crate) enum Copies {
    Local(&'static RawCache<NearCopy>),
    #[cfg(shared)]
    Shared(&'static SharedStore),
}

/// The near tier of a store.
pub(crate) struct Near {
    pub(crate) copies: Copies,
    pub(crate) state: NearState,
    pub(crate) listener: Listener,
    /// What every key that the listener hears of begins with.
    pub(crate) prefix: Vec<u8>,
    pub(crate) max_staleness: Duration,
    pub(crate) ttl: Option<Duration>,
    /// Whether copies get the stamp of the time when they are stored, which breaks the promise: for tests.
    pub(crate) stamps_late: bool,
    /// How many bytes of copies in a file this process keeps as objects.
    #[cfg_attr(not(shared), allow(dead_code))]
    pub(crate) object_capacity: u64,
    /// Keys that are not copied, as the caller names them.
    pub(crate) excluded: Vec<Glob>,
    pub(crate) counts: NearCounts,
    /// Counts the time of computing that the hits have saved.
    pub(crate) flights: &'static ProcessFlights,
}

/// What a near tier counts in this process.
#[derive(Default)]
pub(crate) struct NearCounts {
    pub(crate) hits: AtomicU64,
    /// Copies served beyond the promise, while the server could not be reached.
    pub(crate) stale_hits: AtomicU64,
    pub(crate) fills: AtomicU64,
    /// Fills refused, because the listener was not armed on the server that answered.
    pub(crate) refused_unarmed: AtomicU64,
    /// Fills refused, because the entry was invalidated while it was read.
    pub(crate) refused_invalidated: AtomicU64,
    /// Fills refused by `NEAR_EXCLUDE` or another prefix.
    pub(crate) refused_excluded: AtomicU64,
    /// Fills refused, because the value was too large for the near tier.
    pub(crate) refused_large: AtomicU64,
}

/// What is known before a value is requested, so that its copy can be judged later.
#[derive(Clone, Copy)]
pub(super) struct Fill {
    stripe: Stripe,
    stamp: Stamp,
    pub(super) sent: BootTime,
}

impl Copies {
    /// Removes all copies.
    pub(super) fn clear(&self) {
        match self {
            Self::Local(cache) => cache.clear(),
            #[cfg(shared)]
            Self::Shared(store) => store.clear_near_copies(),
        }
    }
}

impl Near {
    /// Returns whether the copies are in the machine's file.
    #[inline]
    pub(super) const fn is_shared(&self) -> bool {
        !matches!(self.copies, Copies::Local(_))
    }

    /// Returns the gate if it is open, for [`get`](Self::get). To be called when a read begins.
    #[inline]
    pub(super) fn open_gate(&self) -> Option<OpenGate> {
        self.state.open_gate(self.max_staleness)
    }

    /// Returns the value of a copy that may be served.
    #[inline]
    pub(super) fn get(&self, py: Python<'_>, key: &[u8], gate: OpenGate) -> PyResult<Option<Py<PyAny>>> {
        let is_valid = |mark: Mark| self.state.may_serve(gate, mark.stripe, mark.stamp);
        let found = self.find(py, key, gate.time(), is_valid)?;
        if found.is_some() {
            count(&self.counts.hits, py);
        }
        Ok(found)
    }

    /// Returns the value of a copy that may be served while the server cannot be reached, by `ON_ERROR` "stale".
    pub(super) fn get_stale(&self, py: Python<'_>, key: &[u8]) -> PyResult<Option<Py<PyAny>>> {
        let is_valid = |mark: Mark| self.state.may_serve_in_outage(mark.stripe, mark.stamp);
        let found = self.find(py, key, BootTime::now(), is_valid)?;
        if found.is_some() {
            count(&self.counts.stale_hits, py);
        }
        Ok(found)
    }

    /// Returns the value of a copy that has not expired and is valid by its mark. Any other is not decoded: its class may not
    /// exist any more.
    #[inline]
    fn find(
        &self,
        py: Python<'_>,
        key: &[u8],
        now: BootTime,
        is_valid: impl Fn(Mark) -> bool,
    ) -> PyResult<Option<Py<PyAny>>> {
        match &self.copies {
            Copies::Local(cache) => {
                // Under the lock of a shard, so that only a valid copy is cloned.
                let valid = |copy: &NearCopy| is_valid(copy.mark).then(|| copy.stored.clone_ref(py));
                let Some(stored) = cache.get_with(key, &engine_time(now), valid).flatten() else {
                    return Ok(None);
                };
                self.flights.counts.count_saved(stored.timing().cost_micros());
                stored.decode(py).map(Some)
            }
            #[cfg(shared)]
            Copies::Shared(store) => near_shared::find(py, store, key, self.object_capacity, now, is_valid),
        }
    }

    /// Notes what has to be known before a value is requested. Starts the listener if it does not run.
    pub(super) fn begin_fill(&self, key: &[u8]) -> Fill {
        self.listener.ensure_running();
        let stripe = Stripe::of(key);
        Fill {
            stripe,
            stamp: self.state.stamp(stripe),
            sent: BootTime::now(),
        }
    }

    /// Stores a copy of a value that a server returned, if it is known to stay valid until an invalidation.
    ///
    /// The `ttl` of the entry is what the server said in the same request.
    pub(super) fn fill(
        &self,
        entry: &RemoteEntry<'_, '_>,
        mut fill: Fill,
        capacity: &Capacity,
    ) -> PyResult<()> {
        if self.stamps_late {
            fill.stamp = self.state.stamp(fill.stripe);
        }
        let counts = &self.counts;
        let refused = if !self.state.is_armed(entry.server) {
            &counts.refused_unarmed
        } else if !self.state.is_current(fill.stripe, fill.stamp) {
            &counts.refused_invalidated
        } else if !self.accepts(entry.key) {
            &counts.refused_excluded
        } else if !self.insert(entry, fill, capacity)? {
            &counts.refused_large
        } else {
            &counts.fills
        };
        refused.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Returns whether a key is copied at all.
    fn accepts(&self, key: &[u8]) -> bool {
        let Some(rest) = key.strip_prefix(self.prefix.as_slice()) else {
            return false;
        };
        if self.excluded.is_empty() {
            return true;
        }
        // `rest` is `version:key`, unless a function of the user makes the keys.
        let name = match rest.iter().position(|&byte| byte == b':') {
            Some(colon) if !self.prefix.is_empty() => &rest[colon + 1..],
            _ => rest,
        };
        !self.excluded.iter().any(|glob| glob.matches(name))
    }

    /// Returns whether the copy was stored.
    fn insert(&self, entry: &RemoteEntry<'_, '_>, fill: Fill, capacity: &Capacity) -> PyResult<bool> {
        let lifetime = entry.ttl.min(self.ttl.unwrap_or(Duration::MAX));
        let lifetime = (lifetime < Duration::MAX).then_some(lifetime);
        let deadline = fill.sent.after(lifetime);
        let mark = Mark {
            stripe: fill.stripe,
            stamp: fill.stamp,
        };
        match &self.copies {
            Copies::Local(cache) => {
                let mut value = Encoded::with_pickle(entry.value, entry.stored)?;
                let cost = Duration::from_micros(entry.cost_micros.into());
                value.stored.set_timing(Timing::new(cost, Duration::ZERO));
                let new = NewEntry {
                    weight: weight::<NearCopy>(entry.key, value.size),
                    value: NearCopy {
                        mark,
                        stored: value.stored,
                    },
                    expires_at: engine_time(deadline),
                };
                let now = engine_time(fill.sent);
                let inserted = cache.insert_if(entry.key, new, Condition::Always, capacity, &now);
                Ok(inserted.is_ok())
            }
            #[cfg(shared)]
            Copies::Shared(store) => near_shared::insert(store, entry, mark, lifetime, deadline),
        }
    }

    /// Invalidates the copies of a key that this process is about to write or has written.
    pub(super) fn invalidate(&self, key: &[u8]) {
        self.state.invalidate(Stripe::of(key));
    }
}

/// Adds one to a count of hits. Where there is a GIL it is held, and an addition need not be atomic: that saves 7 ns.
#[inline]
fn count(counter: &AtomicU64, _: Python<'_>) {
    if cfg!(Py_GIL_DISABLED) {
        counter.fetch_add(1, Relaxed);
    } else {
        counter.store(counter.load(Relaxed).wrapping_add(1), Relaxed);
    }
}
