//! The file of the flights of this machine: a small cache file without values.
//!
//! It is opened at the first miss of `get_or_set`, or at a write if another process has created it. Where it cannot be
//! opened, the flights are those of this process.

#[cfg(shared)]
use std::path::Path;
use std::path::PathBuf;
#[cfg(shared)]
use std::sync::OnceLock;
#[cfg(shared)]
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[cfg(shared)]
use nearcache_remote::near::BootTime;
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
        }
    }
}

#[cfg(shared)]
impl Flights {
    /// Joins the flight of a key. Returns a leader or a waiter; a leader that does not [lead](Self::leads) computes for
    /// itself.
    pub(super) fn join(&self, context: &CallContext<'_, '_>, key: &[u8]) -> PyResult<Joined> {
        match self.open(context.py()).filter(|_| SharedStore::takes(key)) {
            Some(file) => file.join_flight(context, key, 0.0),
            None => Ok(self.process.join(key)),
        }
    }

    /// Starts a flight that overtakes the one in progress.
    pub(super) fn overtake(&self, context: &CallContext<'_, '_>, key: &[u8]) -> PyResult<Lead> {
        match self.open(context.py()).filter(|_| SharedStore::takes(key)) {
            Some(file) => file.overtake_flight(context, key),
            None => Ok(self.process.overtake(key)),
        }
    }

    /// Starts a flight in place of a given one of the file, unless that has ended.
    pub(super) fn overtake_held(
        &self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        held: MachineFlightId,
    ) -> PyResult<Joined> {
        match self.opened() {
            Some(file) => file.overtake_held_flight(context, key, held),
            None => Ok(Joined::Leader(self.process.overtake(key), None)),
        }
    }

    /// Returns whether a leader's flight is still in progress, so that its value may be stored.
    pub(super) fn leads(&self, key: &[u8], lead: &Lead) -> bool {
        match self.opened().filter(|_| SharedStore::takes(key)) {
            Some(file) => lead
                .machine_number()
                .is_some_and(|number| file.is_led(key, number)),
            None => lead.is_current(),
        }
    }

    /// Ends the flight of a key that this process writes.
    pub(super) fn end(&self, py: Python<'_>, key: &[u8]) {
        match self.existing(py).filter(|_| SharedStore::takes(key)) {
            Some(file) => file.end_flight(py, key),
            None => self.process.end(key),
        }
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
            warn_of_failure(py, path, raised);
        }
        self.opened()
    }
}

/// Logs that the flights are those of this process. That happens once: the file is not tried again.
#[cfg(shared)]
fn warn_of_failure(py: Python<'_>, path: &Path, raised: &PyErr) {
    let message = format!(
        "nearcache: the file of flights {} cannot be opened: {}. get_or_set computes once in each process instead of once on \
         this machine",
        path.display(),
        raised.value(py)
    );
    if let Err(error) = log(py, "warning", &message) {
        error.write_unraisable(py, None);
    }
}

#[cfg(not(shared))]
impl Flights {
    /// Joins the flight of a key. Returns a leader or a waiter.
    pub(super) fn join(&self, _: &CallContext<'_, '_>, key: &[u8]) -> PyResult<Joined> {
        Ok(self.process.join(key))
    }

    /// Starts a flight that overtakes the one in progress.
    pub(super) fn overtake(&self, _: &CallContext<'_, '_>, key: &[u8]) -> PyResult<Lead> {
        Ok(self.process.overtake(key))
    }

    /// Returns whether a leader's flight is still in progress, so that its value may be stored.
    pub(super) fn leads(&self, _: &[u8], lead: &Lead) -> bool {
        lead.is_current()
    }

    /// Ends the flight of a key that this process writes.
    pub(super) fn end(&self, _: Python<'_>, key: &[u8]) {
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
