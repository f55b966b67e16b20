//! What a leader leaves to its waiters instead of a value.

use std::any;
use std::sync::Arc;

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;

/// A [`Raised`] or a `Retry`.
pub(super) type Failure = Arc<dyn any::Any + Send + Sync>;

/// The exception of a leader, which its waiters raise, too.
pub(super) struct Raised(pub(super) Py<PyBaseException>);

/// The waiters are to ask again.
#[cfg(shared)]
pub(super) struct Retry;

#[cfg(shared)]
impl Retry {
    pub(super) fn failure() -> Failure {
        Arc::new(Self)
    }
}
