//! A leader, as Python keeps it while it computes.

use std::sync::{Arc, Mutex};

use nearcache::local::FlightId;
use pyo3::exceptions::{PyBaseException, PyRuntimeError};
use pyo3::prelude::*;

use super::failure::{Failure, Raised};
#[cfg(shared)]
use super::machine::MachineLead;
use super::process_leader::ProcessLeader;
use crate::arguments::Any;
use crate::errors::error;
use crate::values::Encoded;

/// A leader in this process, and in the file if the flight is one of all processes.
pub(crate) struct Lead {
    /// Dropped first, so that a waiter of this process that is woken finds the file free.
    #[cfg(shared)]
    machine: Option<MachineLead>,
    process: ProcessLeader,
    /// What a store needs whose entries are on a server.
    #[cfg(unix)]
    pub(crate) remote: RemoteLead,
}

/// What a leader knows of the entry on a server.
#[cfg(unix)]
#[derive(Default)]
pub(crate) struct RemoteLead {
    /// Whether the value is to replace one that has not expired.
    pub(crate) replaces: bool,
    pub(crate) lock: Option<Box<dyn HeldLock>>,
}

/// A lock on a server that says which machine computes. Dropping it releases it.
#[cfg(unix)]
pub(crate) trait HeldLock: Send {
    /// Returns what the lock's key has while it is held.
    fn token(&self) -> &[u8];

    /// Notes that the lock was released, or is another machine's.
    fn end(&mut self);
}

impl Lead {
    pub(crate) const fn new(process: ProcessLeader) -> Self {
        Self {
            #[cfg(shared)]
            machine: None,
            process,
            #[cfg(unix)]
            remote: RemoteLead {
                replaces: false,
                lock: None,
            },
        }
    }

    /// Adds the flight of the file.
    #[cfg(shared)]
    pub(crate) fn with_machine(self, machine: MachineLead) -> Self {
        Self {
            machine: Some(machine),
            ..self
        }
    }

    fn id(&self) -> FlightId {
        self.process.id()
    }

    /// Returns whether the caller computes for itself, because waiting would have closed a circle.
    #[cfg(shared)]
    pub(crate) const fn is_alone(&self) -> bool {
        self.process.is_alone()
    }

    /// Returns whether later callers wait for this flight.
    #[cfg(unix)]
    pub(crate) fn is_current(&self) -> bool {
        self.process.is_current()
    }

    pub(crate) fn into_process(self) -> ProcessLeader {
        self.process
    }

    /// Returns the number of the flight in the file, if it is one of all processes.
    #[cfg(shared)]
    pub(crate) fn machine_number(&self) -> Option<u64> {
        self.machine.as_ref().map(MachineLead::number)
    }

    /// Takes the flight of the file.
    #[cfg(shared)]
    pub(crate) const fn take_machine(&mut self) -> Option<MachineLead> {
        self.machine.take()
    }

    /// Hands a value to the waiters, if there are any, without storing it.
    pub(crate) fn finish(self, value: Any<'_, '_>, pickle_protocol: Option<i32>) -> PyResult<()> {
        let Err(process) = self.process.end_unless_awaited() else {
            return Ok(());
        };
        let awaited = Self { process, ..self };
        let encoded = Encoded::new(value, pickle_protocol)?;
        awaited.release_machine().finish(encoded.stored);
        Ok(())
    }

    fn compute_with(&mut self, flight: FlightId) {
        self.process.compute_with(flight);
    }

    fn needed_by(&mut self, flight: FlightId) {
        self.process.needed_by(flight);
    }

    fn fail(self, raised: Py<PyBaseException>) {
        let failure: Failure = Arc::new(Raised(raised));
        self.release_machine().fail(failure);
    }

    /// Ends the flight of the file, so that the waiters find it free.
    fn release_machine(self) -> ProcessLeader {
        #[cfg(shared)]
        drop(self.machine);
        self.process
    }
}

/// The part of a caller of ``get_or_set`` that computes the value of a key. If it is dropped, a waiter takes over.
#[pyclass(frozen, module = "nearcache._core")]
pub(crate) struct Flight {
    /// Empty once the flight is over. A lock that is held is the copy, in a child of `fork`, of one that another thread held.
    lead: Mutex<Option<Lead>>,
    /// The stored key.
    pub(crate) key: Box<[u8]>,
    /// The leader's id at the start.
    id: FlightId,
}

impl Flight {
    pub(crate) fn new(lead: Lead, key: Box<[u8]>) -> Self {
        let id = lead.id();
        Self {
            lead: Mutex::new(Some(lead)),
            key,
            id,
        }
    }

    /// Returns the id, for callers that run as part of the computation. The leader gets another one if there is no room for an edge.
    pub(crate) fn id(&self) -> FlightId {
        let lead = self.lead.try_lock().ok();
        lead.and_then(|lead| lead.as_ref().map(Lead::id))
            .unwrap_or(self.id)
    }

    /// Takes the leader. Fails with `RuntimeError` if the flight is over.
    pub(crate) fn take(&self, py: Python<'_>) -> PyResult<Lead> {
        self.try_take()
            .ok_or_else(|| error::<PyRuntimeError>(py, format_args!("this flight is over")))
    }

    /// Calls `work` with the leader. Fails with `RuntimeError` if the flight is over.
    #[cfg(unix)]
    pub(crate) fn with_lead<T>(&self, py: Python<'_>, work: impl FnOnce(&mut Lead) -> T) -> PyResult<T> {
        self.lead
            .try_lock()
            .ok()
            .and_then(|mut lead| lead.as_mut().map(work))
            .ok_or_else(|| error::<PyRuntimeError>(py, format_args!("this flight is over")))
    }

    fn try_take(&self) -> Option<Lead> {
        self.lead.try_lock().ok().and_then(|mut lead| lead.take())
    }
}

#[pymethods]
impl Flight {
    /// Ends the flight with an exception, which the waiters of this process raise. The next caller computes again.
    fn fail(&self, raised: Py<PyBaseException>) {
        if let Some(lead) = self.try_take() {
            lead.fail(raised);
        }
    }

    /// Notes that the value is computed together with that of another flight, within which the computation runs.
    fn compute_with(&self, other: &Bound<'_, Self>) {
        if let Ok(mut lead) = self.lead.try_lock()
            && let Some(lead) = lead.as_mut()
        {
            lead.compute_with(other.get().id());
        }
    }

    /// Notes that the computation of another flight needs this one, so that circles of waits through both are found.
    fn needed_by(&self, other: &Bound<'_, Self>) {
        if let Ok(mut lead) = self.lead.try_lock()
            && let Some(lead) = lead.as_mut()
        {
            lead.needed_by(other.get().id());
        }
    }

    /// Gives the flight up: a waiter takes over. Does nothing if the flight is over.
    fn abandon(&self) {
        drop(self.try_take());
    }
}
