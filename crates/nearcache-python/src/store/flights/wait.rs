//! A waiter, as Python keeps it while it waits.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use nearcache::local::{Waited, Waiter};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::failure::Raised;
#[cfg(shared)]
use super::failure::Retry;
use super::flight::Lead;
#[cfg(shared)]
use super::machine::{HeldFlight, Watcher};
use crate::errors::error;
use crate::objects::interned;
use crate::values::Stored;

/// A waiter: for a flight of this process, or of all processes of the machine.
pub(crate) enum Wait {
    Process(Waiter<'static, Stored>),
    /// For a flight of a file, by way of this process's flight of that name.
    #[cfg(shared)]
    Machine(Waiter<'static, Stored>, HeldFlight),
    /// For a flight of a file whose leader is in another process. Looks at the file.
    #[cfg(shared)]
    Watcher(Watcher),
}

/// What a caller finds that wants the value of a key.
pub(crate) enum Joined {
    /// There is a value.
    Hit(Py<PyAny>),
    /// There is an old value, and another caller computes the new one.
    Stale(Py<PyAny>),
    /// The caller has to compute the value. There may be an old one.
    Leader(Lead, Option<Py<PyAny>>),
    /// Another caller computes the value.
    Waiter(Wait),
    /// Something has changed: the caller asks again.
    Again,
}

/// What a waiter has waited for.
pub(crate) enum Outcome {
    Joined(Joined),
    Raised(PyErr),
}

/// What a waiter finds, or does next, that stops waiting.
pub(crate) enum Stopped {
    Found(Outcome),
    /// It claims the flight of the file.
    #[cfg(shared)]
    Claim(HeldFlight),
}

impl Wait {
    /// Makes the waiter of this process that looks at the file.
    #[cfg(shared)]
    pub(crate) fn watcher(lead: Lead, held: HeldFlight) -> Self {
        Self::Watcher(Watcher::new(lead.into_process(), held))
    }

    /// Makes a waiter for a flight of a file.
    #[cfg(shared)]
    pub(crate) fn with_file(self, held: HeldFlight) -> Self {
        match self {
            Self::Process(waiter) => Self::Machine(waiter, held),
            other => other,
        }
    }

    /// Returns whether the waiter has to look often, because nobody wakes it.
    const fn looks(&self) -> bool {
        match self {
            Self::Process(_) => false,
            #[cfg(shared)]
            Self::Machine(..) => false,
            #[cfg(shared)]
            Self::Watcher(_) => true,
        }
    }

    /// Blocks the thread with the GIL released, for at most `timeout`; returns whether the leader has finished.
    fn sleep(&mut self, py: Python<'_>, timeout: Duration) -> bool {
        match self {
            Self::Process(waiter) => py.detach(|| waiter.sleep(Some(timeout))),
            #[cfg(shared)]
            // The watcher may be a task of an event loop that is blocked.
            Self::Machine(waiter, held) => {
                py.detach(|| waiter.sleep(Some(timeout)) || held.has_ended_elsewhere())
            }
            #[cfg(shared)]
            Self::Watcher(watcher) => watcher.sleep(py, timeout),
        }
    }

    /// Returns the outcome, or registers a waker.
    fn poll(&mut self, py: Python<'_>, waker: &Waker) -> PyResult<Option<Outcome>> {
        let context = &mut Context::from_waker(waker);
        let waited = match self {
            Self::Process(waiter) => waiter.poll(context),
            #[cfg(shared)]
            Self::Machine(waiter, held) => match waiter.poll(context) {
                // The others of this process ask again, too: the file says who leads.
                Poll::Ready(Waited::Leader(leader)) => {
                    leader.fail(Retry::failure());
                    return Ok(Some(Outcome::Joined(Joined::Again)));
                }
                Poll::Pending if held.has_ended_elsewhere() => {
                    return Ok(Some(Outcome::Joined(Joined::Again)));
                }
                other => other,
            },
            #[cfg(shared)]
            Self::Watcher(watcher) => {
                return Ok(watcher.is_over().then_some(Outcome::Joined(Joined::Again)));
            }
        };
        Ok(match waited {
            Poll::Pending => None,
            Poll::Ready(waited) => Some(outcome(py, waited)?),
        })
    }

    /// Ends the wait: returns the outcome, or lets the caller compute if there is none yet. `overtakes` lets its value be the
    /// one that is stored.
    fn stop(mut self, py: Python<'_>, overtakes: bool) -> PyResult<Stopped> {
        if let Some(outcome) = self.poll(py, Waker::noop())? {
            return Ok(Stopped::Found(outcome));
        }
        let waiter = match self {
            Self::Process(waiter) => waiter,
            #[cfg(shared)]
            Self::Machine(_, held) if overtakes => return Ok(Stopped::Claim(held)),
            #[cfg(shared)]
            Self::Machine(waiter, _) => waiter,
            #[cfg(shared)]
            Self::Watcher(watcher) => {
                return Ok(match watcher.into_parts() {
                    (Some(process), _) if !overtakes => {
                        Stopped::Found(Outcome::Joined(Joined::Leader(Lead::new(process), None)))
                    }
                    (_, held) => Stopped::Claim(held),
                });
            }
        };
        Ok(Stopped::Found(outcome(py, waiter.lead(overtakes))?))
    }
}

/// Returns what a waiter of a flight of this process has waited for.
fn outcome(py: Python<'_>, waited: Waited<'static, Stored>) -> PyResult<Outcome> {
    Ok(match waited {
        Waited::Value(stored) => Outcome::Joined(Joined::Hit(stored.decode(py)?)),
        Waited::Leader(leader) => Outcome::Joined(Joined::Leader(Lead::new(leader), None)),
        Waited::Failed(failure) => match failure.downcast::<Raised>() {
            Ok(raised) => Outcome::Raised(PyErr::from_value(raised.0.bind(py).clone().into_any())),
            Err(_) => Outcome::Joined(Joined::Again),
        },
    })
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
        let mut wait = self.take(py)?;
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

    /// Ends the wait. `overtakes` lets the value of a caller that computes be the one that is stored.
    pub(crate) fn stop(&self, py: Python<'_>, overtakes: bool) -> PyResult<Stopped> {
        self.take(py)?.stop(py, overtakes)
    }
}

#[pymethods]
impl FlightWait {
    /// Blocks the thread for at most `seconds`, without the GIL; returns whether the leader has finished.
    fn sleep(&self, py: Python<'_>, seconds: f64) -> PyResult<bool> {
        self.sleep_for(py, Duration::try_from_secs_f64(seconds).unwrap_or_default())
    }

    /// Whether the waiter has to look often, because nobody wakes it.
    #[getter]
    fn looks(&self) -> bool {
        self.wait
            .try_lock()
            .is_ok_and(|wait| wait.as_ref().is_some_and(Wait::looks))
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
