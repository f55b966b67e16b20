//! What the servers tell about themselves, by INFO.

use nearcache_remote::{Request, Route, Value, cmd};
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::failure::to_exception;
use super::requests::{Reader, unexpected};
use super::tiered_store::TieredStore;
use crate::objects::{list, text};

impl TieredStore {
    /// Returns a section of INFO as text, once for each primary.
    ///
    /// Fails with the exception for an error, whatever `ON_ERROR` says.
    pub(crate) fn info<'py>(&'static self, py: Python<'py>, section: &str) -> PyResult<Bound<'py, PyList>> {
        let found = list(py)?;
        let mut primary = 0;
        loop {
            let mut command = cmd("INFO");
            command.arg(section);
            let mut request = Request::default();
            request.add(command, Route::Primary(primary), true);
            let outcome = self.request(py, request)?;
            let told = outcome.and_then(|replies| match Reader::new(replies).value()? {
                Value::BulkString(bytes) => Ok(bytes),
                other => Err(unexpected(&other, "a string")),
            });
            let told = told.map_err(|error| to_exception(py, &error))?;
            found.append(text(py, &String::from_utf8_lossy(&told))?)?;
            primary += 1;
            // The request has asked for the servers: this does not wait.
            if primary >= py.detach(|| self.remote.primaries()).unwrap_or(0) {
                return Ok(found);
            }
        }
    }
}
