//! Waiting for the server in the calling thread: blocking with the GIL released, or, under gevent and eventlet, so that other
//! greenlets run.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use nearcache_remote::{Error, Replies, Request};
use pyo3::prelude::*;

use super::plan::{Plan, Step};
use super::tiered_store::TieredStore;
use crate::errors::error;

/// The outcome of a request that a greenlet waits for, and the socket pair by which it is woken.
struct Waiter {
    outcome: Mutex<Option<Result<Replies, Error>>>,
    /// The end of an operation whose greenlet has gone. It is dropped with the waiter, after the server has answered: only
    /// then is what it wrote invalidated.
    abandoned: Mutex<Option<Box<dyn Send>>>,
    wake: UnixStream,
    woken: UnixStream,
}

impl TieredStore {
    /// Carries out an operation, and waits for the server if necessary.
    pub(crate) fn run<T: 'static>(&'static self, py: Python<'_>, step: Step<T>) -> PyResult<T> {
        match step {
            Step::Done(result) => Ok(result),
            Step::Remote(plan) => self.run_plan(py, plan),
        }
    }

    fn run_plan<T: 'static>(&'static self, py: Python<'_>, plan: Plan<T>) -> PyResult<T> {
        let (request, finish) = plan.split();
        let Some(wait) = self.green_wait.get() else {
            let outcome = py.detach(|| self.remote.execute(&request));
            return finish(py, outcome);
        };
        let waiter = self.start_green(request)?;
        match waiter.wait(wait.bind(py)) {
            Ok(outcome) => finish(py, outcome),
            Err(raised) => {
                *waiter.abandoned.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(finish));
                Err(raised)
            }
        }
    }

    /// Sends a request and waits for its outcome.
    ///
    /// Fails with what the waiting raises, such as gevent's `Timeout`. The request may have been executed then.
    pub(super) fn request(
        &'static self,
        py: Python<'_>,
        request: Request,
    ) -> PyResult<Result<Replies, Error>> {
        match self.green_wait.get() {
            None => Ok(py.detach(|| self.remote.execute(&request))),
            Some(wait) => self.start_green(request)?.wait(wait.bind(py)),
        }
    }

    /// Sends a request whose outcome a greenlet waits for.
    #[cold]
    fn start_green(&'static self, request: Request) -> PyResult<Arc<Waiter>> {
        let waiter = Arc::new(Waiter::new()?);
        let done = Arc::clone(&waiter);
        self.remote
            .start(request, Box::new(move |outcome| done.finish(outcome)));
        Ok(waiter)
    }
}

impl Waiter {
    fn new() -> PyResult<Self> {
        let (wake, woken) = UnixStream::pair()?;
        Ok(Self {
            outcome: Mutex::new(None),
            abandoned: Mutex::new(None),
            wake,
            woken,
        })
    }

    /// Stores the outcome and wakes the greenlet, unless that has gone.
    fn finish(&self, outcome: Result<Replies, Error>) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        // Fails only if the pair was closed, which nobody does while the waiter exists.
        let _ = (&self.wake).write(&[0]);
    }

    /// Waits with a function that lets other greenlets run until a file descriptor is readable.
    fn wait(&self, wait: &Bound<'_, PyAny>) -> PyResult<Result<Replies, Error>> {
        wait.call1((self.woken.as_raw_fd(),))?;
        self.take(wait.py())
    }

    fn take(&self, py: Python<'_>) -> PyResult<Result<Replies, Error>> {
        let mut byte = [0];
        (&self.woken).read_exact(&mut byte)?;
        let outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner).take();
        outcome.ok_or_else(|| {
            let message = format_args!("nearcache: a wake-up without an outcome, please report it");
            error::<pyo3::exceptions::PyRuntimeError>(py, message)
        })
    }
}
