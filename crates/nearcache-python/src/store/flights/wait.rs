//! A waiter, as Python keeps it while it waits.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use nearcache::local::{Waited, Waiter};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::flight::Raised;
use super::{Joined, Lead};
use crate::errors::error;
use crate::objects::interned;
use crate::values::Stored;

/// A waiter in this process.
pub(crate) struct Wait {
    process: Waiter<'static, Stored>,
}

/// What a waiter has waited for.
pub(crate) enum Outcome {
    Joined(Joined),
    Raised(PyErr),
}

impl Wait {
    pub(crate) const fn new(process: Waiter<'static, Stored>) -> Self {
        Self { process }
    }

    /// Blocks the thread with the GIL released, for at most `timeout`; returns whether the leader has finished.
    fn sleep(&self, py: Python<'_>, timeout: Duration) -> bool {
        py.detach(|| self.process.sleep(Some(timeout)))
    }

    /// Returns the outcome, or registers a waker.
    fn poll(&mut self, py: Python<'_>, waker: &Waker) -> PyResult<Option<Outcome>> {
        Ok(match self.process.poll(&Context::from_waker(waker)) {
            Poll::Pending => None,
            Poll::Ready(Waited::Value(stored)) => Some(Outcome::Joined(Joined::Hit(stored.decode(py)?))),
            Poll::Ready(Waited::Leader(leader)) => {
                Some(Outcome::Joined(Joined::Leader(Lead::new(leader), None)))
            }
            Poll::Ready(Waited::Failed(failure)) => Some(match failure.downcast::<Raised>() {
                Ok(raised) => Outcome::Raised(PyErr::from_value(raised.0.bind(py).clone().into_any())),
                Err(_) => Outcome::Joined(Joined::Again),
            }),
        })
    }

    /// Ends the wait, and lets the caller compute. `overtakes` lets its value be the one that is stored.
    fn lead(self, overtakes: bool) -> Lead {
        Lead::new(self.process.lead(overtakes))
    }
}

/// The part of a caller of ``get_or_set`` that waits for another one's value. Dropping it ends the wait.
#[pyclass(frozen, module = "nearcache._core")]
pub(crate) struct FlightWait {
    /// Empty while the wait is used, and once it is over.
    wait: Mutex<Option<Wait>>,
    /// The stored key.
    pub(crate) key: Box<[u8]>,
}

impl FlightWait {
    pub(crate) const fn new(wait: Wait, key: Box<[u8]>) -> Self {
        Self {
            wait: Mutex::new(Some(wait)),
            key,
        }
    }

    fn take(&self, py: Python<'_>) -> PyResult<Wait> {
        self.wait
            .try_lock()
            .ok()
            .and_then(|mut wait| wait.take())
            .ok_or_else(|| error::<PyRuntimeError>(py, format_args!("this wait is over")))
    }

    fn put_back(&self, wait: Wait) {
        if let Ok(mut place) = self.wait.try_lock() {
            *place = Some(wait);
        }
    }

    /// Blocks the thread for at most `timeout`; returns whether the leader has finished.
    pub(crate) fn sleep_for(&self, py: Python<'_>, timeout: Duration) -> PyResult<bool> {
        let wait = self.take(py)?;
        let is_over = wait.sleep(py, timeout);
        self.put_back(wait);
        Ok(is_over)
    }

    /// Returns the outcome; `None` if the leader has not finished, in which case `waker` will be woken.
    pub(crate) fn poll_with(&self, py: Python<'_>, waker: &Waker) -> PyResult<Option<Outcome>> {
        let mut wait = self.take(py)?;
        let outcome = wait.poll(py, waker);
        if matches!(outcome, Ok(None)) {
            self.put_back(wait);
        }
        outcome
    }

    pub(crate) fn take_lead(&self, py: Python<'_>, overtakes: bool) -> PyResult<Lead> {
        Ok(self.take(py)?.lead(overtakes))
    }
}

#[pymethods]
impl FlightWait {
    /// Blocks the thread for at most `seconds`, without the GIL; returns whether the leader has finished.
    fn sleep(&self, py: Python<'_>, seconds: f64) -> PyResult<bool> {
        self.sleep_for(py, Duration::try_from_secs_f64(seconds).unwrap_or_default())
    }

    /// Ends the wait.
    fn close(&self) {
        if let Ok(mut wait) = self.wait.try_lock() {
            let ended = wait.take();
            drop(wait);
            drop(ended);
        }
    }
}

/// Wakes a task: sets the result of an ``asyncio.Future`` in its event loop.
pub(crate) struct TaskWaker {
    event_loop: Py<PyAny>,
    wake: Py<PyAny>,
}

impl TaskWaker {
    /// Makes the waker that calls `wake` in the event loop.
    pub(crate) fn waker(event_loop: Py<PyAny>, wake: Py<PyAny>) -> Waker {
        Waker::from(Arc::new(Self { event_loop, wake }))
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        // If the interpreter ends, there is nobody to be woken.
        let _ = Python::try_attach(|py| {
            let Ok(method) = interned!(py, "call_soon_threadsafe") else {
                return;
            };
            let called = self.event_loop.bind(py).call_method1(method, (&self.wake,));
            // The loop of a task that is gone may be closed.
            if let Err(raised) = called
                && !raised.is_instance_of::<PyRuntimeError>(py)
            {
                raised.write_unraisable(py, Some(self.event_loop.bind(py)));
            }
        });
    }
}
