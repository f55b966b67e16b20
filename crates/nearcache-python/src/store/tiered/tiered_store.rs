//! `TieredStore`: the two tiers, and what the operations on them have in common.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use nearcache_remote::{Error, Remote};
use pyo3::prelude::*;

use super::costs::Costs;
use super::failure::{self, OnError};
use super::flights_file::Flights;
use super::near::Near;

/// A remote tier, and the near tier before it. Lives as long as the process.
pub(crate) struct TieredStore {
    pub(super) remote: Remote,
    pub(super) near: Option<Near>,
    pub(super) on_error: OnError,
    /// Whether `clear` deletes the whole database.
    pub(super) flush_database: bool,
    /// The function by which greenlets wait; empty where threads block.
    pub(super) green_wait: OnceLock<Py<PyAny>>,
    pub(super) counts: RemoteCounts,
    /// What every stored key begins with; empty if a function makes the keys.
    pub(super) key_prefix: Vec<u8>,
    pub(super) flights: Flights,
    pub(super) costs: Costs,
    /// Whether this process, or the cache by its options, keeps side keys: then `set` and `incr` delete them.
    pub(super) has_side_keys: AtomicBool,
}

/// What a store counts in this process about the remote tier.
#[derive(Default)]
pub(super) struct RemoteCounts {
    pub(super) hits: AtomicU64,
    pub(super) misses: AtomicU64,
    pub(super) sets: AtomicU64,
    pub(super) deletes: AtomicU64,
    /// Operations that failed, but did not raise because of `ON_ERROR`.
    pub(super) ignored_errors: AtomicU64,
}

impl TieredStore {
    /// Returns what an operation does when its request failed: `otherwise`, if `ON_ERROR` allows it for this error.
    pub(super) fn on_failure<T>(
        &self,
        py: Python<'_>,
        error: &Error,
        otherwise: impl FnOnce() -> PyResult<T>,
    ) -> PyResult<T> {
        if self.on_error == OnError::Raise || !error.is_outage() {
            return Err(failure::to_exception(py, error));
        }
        self.counts.ignored_errors.fetch_add(1, Relaxed);
        otherwise()
    }

    /// Invalidates the near copies of a key that this process is about to write or has written.
    pub(super) fn invalidate(&self, key: &[u8]) {
        if let Some(near) = &self.near {
            near.invalidate(key);
        }
    }
}
