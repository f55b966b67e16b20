//! The file of the flights of this machine: a small cache file without values.
//!
//! It is opened at the first miss of `get_or_set`, or at a write if another process has created it. Where it cannot be
//! opened, and for a while after it failed, new flights are those of this process. A write ends both.

use std::path::PathBuf;
#[cfg(shared)]
use std::sync::OnceLock;
#[cfg(shared)]
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

#[cfg(shared)]
use nearcache_remote::near::BootTime;
#[cfg(shared)]
use pyo3::exceptions::{PyException, PyMemoryError};
use pyo3::prelude::*;

use crate::context::CallContext;
use crate::memory::no_memory;
use crate::store::entry_store::StoredKey;
#[cfg(shared)]
use crate::store::flights::MachineFlightId;
use crate::store::flights::{Joined, Lead, ProcessFlights};
#[cfg(shared)]
use crate::store::{
    registry,
    shared::{FileSize, SharedStore, log},
};

/// A flight takes less than a hundred bytes and its key.
#[cfg(shared)]
const SIZE: FileSize = FileSize {
    bytes: 2 << 20,
    processes: Some(1024),
};

/// Milliseconds between two looks for a file that does not exist.
#[cfg(shared)]
const LOOK_INTERVAL: u64 = 10;

/// Milliseconds for which a file that failed is not used: each attempt may wait for a lock.
#[cfg(shared)]
const PAUSE_AFTER_FAILURE: u64 = 10_000;

/// The flights of a store: those of the machine, and those of this process for what the file does not take.
pub(crate) struct Flights {
    pub(super) process: &'static ProcessFlights,
    #[cfg_attr(not(shared), allow(dead_code))]
    path: Option<PathBuf>,
    /// Empty before the file is opened, `None` in it if that failed.
    #[cfg(shared)]
    file: OnceLock<Option<&'static SharedStore>>,
    /// The [`BootTime`] until which the file is not looked for.
    #[cfg(shared)]
    next_look: AtomicU64,
    /// The [`BootTime`] until which no flight begins in the file, because it failed.
    #[cfg(shared)]
    next_use: AtomicU64,
    #[cfg(shared)]
    failure_logged: AtomicBool,
}

impl Flights {
    pub(super) const fn new(process: &'static ProcessFlights, path: Option<PathBuf>) -> Self {
        Self {
            process,
            path,
            #[cfg(shared)]
            file: OnceLock::new(),
            #[cfg(shared)]
            next_look: AtomicU64::new(0),
            #[cfg(shared)]
            next_use: AtomicU64::new(0),
            #[cfg(shared)]
            failure_logged: AtomicBool::new(false),
        }
    }
}

#[cfg(shared)]
impl Flights {
    /// Joins the flight of a key. Returns a leader or a waiter; a leader that does not [lead](Self::leads) computes for
    /// itself.
    pub(super) fn join(&self, context: &CallContext<'_, '_>, key: &[u8]) -> PyResult<Joined> {
        let in_file = |file: &'static SharedStore| file.join_flight(context, key, 0.0);
        let found = self.in_file(context.py(), key, in_file)?;
        Ok(found.unwrap_or_else(|| self.join_in_process(key)))
    }

    /// Starts a flight that overtakes the one in progress.
    pub(super) fn overtake(&self, context: &CallContext<'_, '_>, key: &[u8]) -> PyResult<Lead> {
        let in_file = |file: &'static SharedStore| file.overtake_flight(context, key);
        let lead = self.in_file(context.py(), key, in_file)?;
        Ok(lead.unwrap_or_else(|| self.process.overtake(key).of_key()))
    }

    /// Starts a flight in place of a given one of the file, unless that has ended.
    pub(super) fn overtake_held(
        &self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        held: MachineFlightId,
    ) -> PyResult<Joined> {
        let in_file = |file: &'static SharedStore| file.overtake_held_flight(context, key, held);
        let joined = self.in_file(context.py(), key, in_file)?;
        Ok(joined.unwrap_or_else(|| Joined::Leader(self.process.overtake(key).of_key(), None)))
    }

    /// Returns whether a leader's flight is still in progress, so that its value may be stored.
    pub(super) fn leads(&self, key: &[u8], lead: &Lead) -> bool {
        match lead.machine_number() {
            Some(number) => self.opened().is_some_and(|file| file.is_led(key, number)),
            None => lead.remote.is_of_key && lead.is_current(),
        }
    }

    /// Ends the flight of a key that this process writes.
    pub(super) fn end(&self, py: Python<'_>, key: &[u8]) {
        if let Some(file) = self.existing(py).filter(|_| SharedStore::takes(key)) {
            file.end_flight(py, key);
        }
        self.process.end(key);
    }

    /// Does so without the GIL, which opening the file needs.
    pub(super) fn end_in_open_file(&self, key: &[u8]) {
        if let Some(file) = self.opened().filter(|_| SharedStore::takes(key)) {
            file.end_flight_detached(key);
        }
        self.process.end(key);
    }

    /// Ends all flights.
    pub(super) fn end_all(&self, py: Python<'_>) {
        if let Some(file) = self.existing(py) {
            file.clear_near_copies();
        }
        self.process.end_all();
    }

    /// Returns an iterator over the keys that may have a flight now.
    pub(super) fn keys(&self, py: Python<'_>) -> impl Iterator<Item = PyResult<StoredKey>> + Send + use<> {
        let file = self.existing(py).map(SharedStore::flight_keys);
        let of_file = file
            .into_iter()
            .flatten()
            .map(|key| key.map(Vec::into_boxed_slice));
        of_file
            .chain(self.process.names())
            .map(|key| key.map_err(no_memory))
    }

    /// Starts or joins a flight in the file; returns `None` if it is to be one of this process.
    fn in_file<T>(
        &self,
        py: Python<'_>,
        key: &[u8],
        work: impl FnOnce(&'static SharedStore) -> PyResult<T>,
    ) -> PyResult<Option<T>> {
        let Some(file) = self.open(py).filter(|_| SharedStore::takes(key)) else {
            return Ok(None);
        };
        if BootTime::now().as_millis() < self.next_use.load(Relaxed) {
            return Ok(None);
        }
        match work(file) {
            Ok(done) => Ok(Some(done)),
            // What is no fault of the file.
            Err(raised) if raised.is_instance_of::<PyMemoryError>(py) => Err(raised),
            Err(raised) if !raised.is_instance_of::<PyException>(py) => Err(raised),
            Err(raised) => {
                let pause_end = BootTime::now().as_millis() + PAUSE_AFTER_FAILURE;
                self.next_use.store(pause_end, Relaxed);
                if !self.failure_logged.swap(true, Relaxed) {
                    warn(py, "failed; it is tried again every ten seconds", &raised);
                }
                Ok(None)
            }
        }
    }

    fn opened(&self) -> Option<&'static SharedStore> {
        self.file.get().copied().flatten()
    }

    /// Returns the file if this process has opened it, or if another process has created it.
    fn existing(&self, py: Python<'_>) -> Option<&'static SharedStore> {
        match self.file.get() {
            Some(file) => *file,
            None if self.is_created() => self.open(py),
            None => None,
        }
    }

    /// Looks for the file, unless there was none a moment ago: that takes as long as a tenth of a write.
    fn is_created(&self) -> bool {
        let Some(path) = &self.path else {
            return false;
        };
        let now = BootTime::now().as_millis();
        if now < self.next_look.load(Relaxed) {
            return false;
        }
        let is_created = path.exists();
        if !is_created {
            self.next_look.store(now + LOOK_INTERVAL, Relaxed);
        }
        is_created
    }

    fn open(&self, py: Python<'_>) -> Option<&'static SharedStore> {
        if let Some(file) = self.file.get() {
            return *file;
        }
        let path = self.path.as_ref()?;
        // If two threads are here, they open the same file, and the first one's result counts.
        let opened = registry::open_shared(py, path.clone(), SIZE);
        let is_first = self.file.set(opened.as_ref().ok().copied()).is_ok();
        if let Err(raised) = &opened
            && is_first
        {
            warn(py, "cannot be opened", raised);
        }
        self.opened()
    }
}

/// Logs that flights are those of this process.
#[cfg(shared)]
fn warn(py: Python<'_>, what: &str, raised: &PyErr) {
    let reason = raised.value(py).to_string();
    let message = format!(
        "nearcache: get_or_set computes once in each process, not once on this machine, because the file of flights {what}: \
         {}",
        reason.trim_start_matches("nearcache: ")
    );
    if let Err(error) = log(py, "warning", &message) {
        error.write_unraisable(py, None);
    }
}

impl Flights {
    fn join_in_process(&self, key: &[u8]) -> Joined {
        match self.process.join(key) {
            Joined::Leader(lead, old) => Joined::Leader(lead.of_key(), old),
            joined => joined,
        }
    }
}

#[cfg(not(shared))]
impl Flights {
    /// Joins the flight of a key. Returns a leader or a waiter.
    pub(super) fn join(&self, _: &CallContext<'_, '_>, key: &[u8]) -> PyResult<Joined> {
        Ok(self.join_in_process(key))
    }

    /// Starts a flight that overtakes the one in progress.
    pub(super) fn overtake(&self, _: &CallContext<'_, '_>, key: &[u8]) -> PyResult<Lead> {
        Ok(self.process.overtake(key).of_key())
    }

    /// Returns whether a leader's flight is still in progress, so that its value may be stored.
    pub(super) fn leads(&self, _: &[u8], lead: &Lead) -> bool {
        lead.remote.is_of_key && lead.is_current()
    }

    /// Ends the flight of a key that this process writes.
    pub(super) fn end(&self, _: Python<'_>, key: &[u8]) {
        self.process.end(key);
    }

    /// Does so without the GIL.
    pub(super) fn end_in_open_file(&self, key: &[u8]) {
        self.process.end(key);
    }

    /// Ends all flights.
    pub(super) fn end_all(&self, _: Python<'_>) {
        self.process.end_all();
    }

    /// Returns an iterator over the keys that have a flight now.
    pub(super) fn keys(&self, _: Python<'_>) -> impl Iterator<Item = PyResult<StoredKey>> + Send + use<> {
        self.process.names().map(|key| key.map_err(no_memory))
    }
}
