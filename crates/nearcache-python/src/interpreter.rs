//! Refuses to be imported by a subinterpreter.
//!
//! Stores, imported types and interned names are kept once in a process. In a process with several interpreters (`mod_wsgi`
//! with two sites) one interpreter would get objects of another one, and would use them after that one has ended.

use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;

use crate::system;

/// Fails with `ImportError` in a subinterpreter.
pub(crate) fn require_main(py: Python<'_>) -> PyResult<()> {
    if system::is_main_interpreter(py) {
        return Ok(());
    }
    Err(PyImportError::new_err(
        "nearcache cannot be imported in a subinterpreter, because its caches belong to the whole process. Under mod_wsgi, \
         set \"WSGIApplicationGroup %{GLOBAL}\" and give each site a WSGIDaemonProcess of its own.",
    ))
}
