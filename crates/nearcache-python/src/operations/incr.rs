//! Adding to values.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::arguments::{Any, Argument, Version};
use crate::keys::decode;
use crate::objects::{int, text};
use crate::open_cache::Operation;

impl<'py> Operation<'_, 'py> {
    /// Adds to a value, atomically; returns the sum. Fails with `ValueError` if there is no value.
    pub(crate) fn incr(
        &self,
        key: Any<'_, 'py>,
        delta: Argument<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<Py<PyAny>> {
        let py = self.context.py();
        self.context.keys().with_key(key, version, |key| {
            let delta = match delta.given() {
                Some(delta) => delta.to_owned(),
                None => int(py, 1)?.into_any(),
            };
            self.entries()
                .incr(&self.context, key, &delta)?
                .ok_or_else(|| key_not_found(py, key))
        })
    }
}

#[cold]
pub(super) fn key_not_found(py: Python<'_>, key: &[u8]) -> PyErr {
    // Formatted by Python, because the key may contain lone surrogates.
    let message = text(py, "Key '%s' not found")
        .and_then(|text| text.rem(decode(py, key)?))
        .and_then(|message| py.get_type::<PyValueError>().call1((message,)));
    match message {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}
