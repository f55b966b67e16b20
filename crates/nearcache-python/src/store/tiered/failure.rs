//! What a failed request means: an exception, or what the cache's `ON_ERROR` says instead.

use nearcache_remote::{Error, ErrorKind};
use pyo3::prelude::*;

use crate::nonblocking_once::NonblockingOnce;
use crate::objects::text;

/// What an operation does if the server cannot be reached.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnError {
    /// It raises.
    Raise,
    /// It behaves as if no key had a value, and writes have no effect.
    Miss,
    /// As `Miss`, but near copies are served, however old they are.
    Stale,
}

/// Returns the exception for a failed request. Its classes are in `nearcache.django.errors`.
pub(super) fn to_exception(py: Python<'_>, error: &Error) -> PyErr {
    let class = match error.kind {
        ErrorKind::Connection => "RemoteConnectionError",
        ErrorKind::Timeout => "RemoteTimeoutError",
        ErrorKind::Authentication => "RemoteAuthenticationError",
        ErrorKind::ReadOnly => "RemoteReadOnlyError",
        ErrorKind::Unsupported | ErrorKind::Response | ErrorKind::Config => "RemoteResponseError",
    };
    let raised = text(py, &error.to_string())
        .and_then(|message| errors(py)?.getattr(text(py, class)?)?.call1((message,)));
    match raised {
        Ok(exception) => PyErr::from_value(exception),
        Err(exception) => exception,
    }
}

fn errors(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static MODULE: NonblockingOnce<Py<PyModule>> = NonblockingOnce::new();
    let import = || py.import(text(py, "nearcache.django.errors")?).map(Bound::unbind);
    MODULE.get_or_make(import).map(|module| module.bind(py))
}
