//! A leader, as Python keeps it while it computes.

use std::any;
use std::sync::{Arc, Mutex};

use nearcache::local::FlightId;
use pyo3::exceptions::{PyBaseException, PyRuntimeError};
use pyo3::prelude::*;

use super::ProcessLeader;
use crate::arguments::Any;
use crate::errors::error;
use crate::values::Encoded;

/// A leader in this process.
pub(crate) struct Lead {
    process: ProcessLeader,
}

/// The exception of a leader, which its waiters raise, too.
pub(super) struct Raised(pub(super) Py<PyBaseException>);

impl Lead {
    pub(crate) const fn new(process: ProcessLeader) -> Self {
        Self { process }
    }

    fn id(&self) -> FlightId {
        self.process.id()
    }

    pub(crate) fn into_process(self) -> ProcessLeader {
        self.process
    }

    /// Hands a value to the waiters, if there are any, without storing it.
    pub(crate) fn finish(self, value: Any<'_, '_>, pickle_protocol: Option<i32>) -> PyResult<()> {
        if self.process.has_waiters() {
            let encoded = Encoded::new(value, pickle_protocol)?;
            self.process.finish(encoded.stored);
        }
        Ok(())
    }

    fn fail(self, raised: Py<PyBaseException>) {
        let failure: Arc<dyn any::Any + Send + Sync> = Arc::new(Raised(raised));
        self.process.fail(failure);
    }
}

/// The part of a caller of ``get_or_set`` that computes the value of a key. If it is dropped, a waiter takes over.
#[pyclass(frozen, module = "nearcache._core")]
pub(crate) struct Flight {
    /// Empty once the flight is over. A lock that is held is the copy, in a child of `fork`, of one that another thread held.
    lead: Mutex<Option<Lead>>,
    /// The stored key.
    pub(crate) key: Box<[u8]>,
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

    /// Returns the id, for callers that run as part of the computation.
    pub(crate) const fn id(&self) -> FlightId {
        self.id
    }

    /// Takes the leader. Fails with `RuntimeError` if the flight is over.
    pub(crate) fn take(&self, py: Python<'_>) -> PyResult<Lead> {
        self.try_take()
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

    /// Gives the flight up: a waiter takes over. Does nothing if the flight is over.
    fn abandon(&self) {
        drop(self.try_take());
    }
}
