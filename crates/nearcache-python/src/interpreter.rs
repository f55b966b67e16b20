//! Which Python interpreter may import this module: the main one alone.
//!
//! Stores, imported types and interned names are kept once for the process. In a process with several interpreters (`mod_wsgi`
//! with two sites) one would hand out objects of another, and would use them after that one has ended.

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;

/// Fails with `ImportError` in a subinterpreter.
#[allow(unsafe_code)]
pub(crate) fn require_main(_: Python<'_>) -> PyResult<()> {
    // SAFETY: the thread is attached, as `Python` proves, so there is a current interpreter.
    if unsafe { ffi::PyInterpreterState_Get() == ffi::PyInterpreterState_Main() } {
        return Ok(());
    }
    Err(PyImportError::new_err(
        "nearcache cannot be imported in a subinterpreter, because its caches belong to the whole process. Under mod_wsgi, \
         set \"WSGIApplicationGroup %{GLOBAL}\" and give each site a WSGIDaemonProcess of its own.",
    ))
}
