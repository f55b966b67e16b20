//! Plans: an operation split where it waits for the server, so that it can be carried out in every way of waiting.
//!
//! An operation first does what needs no server. What is left is a [`Plan`]: the commands, and what their replies mean. It
//! is carried out in the calling thread (`wait`), or in the runtime's thread for an event loop (`completions`).

use nearcache_remote::{Error, Replies, Request};
use pyo3::prelude::*;

/// What the outcome of a request means: the operation's result.
pub(super) type Finish<T> = Box<dyn FnOnce(Python<'_>, Result<Replies, Error>) -> PyResult<T> + Send>;

/// An operation that waits for the server.
pub(crate) struct Plan<T> {
    pub(super) request: Request,
    finish: Finish<T>,
}

/// An operation that is done, or has to ask the server.
pub(crate) enum Step<T> {
    Done(T),
    Remote(Plan<T>),
}

impl<T: 'static> Plan<T> {
    pub(super) fn new(
        request: Request,
        finish: impl FnOnce(Python<'_>, Result<Replies, Error>) -> PyResult<T> + Send + 'static,
    ) -> Self {
        Self {
            request,
            finish: Box::new(finish),
        }
    }

    /// Takes the request, and what its outcome means.
    pub(super) fn split(self) -> (Request, Finish<T>) {
        (self.request, self.finish)
    }

    /// Adds a last step to the result.
    pub(crate) fn map<U: 'static>(
        self,
        last: impl FnOnce(Python<'_>, T) -> PyResult<U> + Send + 'static,
    ) -> Plan<U> {
        let finish = self.finish;
        Plan::new(self.request, move |py, outcome| last(py, finish(py, outcome)?))
    }
}

impl<T: 'static> Step<T> {
    /// Adds a last step to the result.
    pub(crate) fn map<U: 'static>(
        self,
        py: Python<'_>,
        last: impl FnOnce(Python<'_>, T) -> PyResult<U> + Send + 'static,
    ) -> PyResult<Step<U>> {
        Ok(match self {
            Self::Done(result) => Step::Done(last(py, result)?),
            Self::Remote(plan) => Step::Remote(plan.map(last)),
        })
    }
}

impl<T> From<Plan<T>> for Step<T> {
    fn from(plan: Plan<T>) -> Self {
        Self::Remote(plan)
    }
}
