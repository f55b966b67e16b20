//! The tree format alone, for tests that damage it.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::tree::{self, BuildError};
use crate::errors::error;
use crate::objects::bytes;

/// Returns the bytes of a tree; for tests.
///
/// Fails with `TypeError` if the value is not one.
#[pyfunction]
pub(crate) fn encode_tree<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let py = value.py();
    match tree::encode(value)? {
        Ok(encoded) => bytes(py, &encoded),
        Err(reason) => Err(error::<PyTypeError>(py, format_args!("{reason}"))),
    }
}

/// Returns the object of a tree's bytes; for tests.
///
/// Fails with `ValueError` if they are not a tree, and with what building an object of them raises.
#[pyfunction]
pub(crate) fn decode_tree<'py>(
    py: Python<'py>,
    encoded: &Bound<'py, PyBytes>,
) -> PyResult<Bound<'py, PyAny>> {
    tree::decode(py, encoded.as_bytes()).map_err(|failure| match failure {
        BuildError::Malformed => error::<PyValueError>(py, format_args!("the bytes are not a tree")),
        BuildError::Raised(raised) => raised,
    })
}
