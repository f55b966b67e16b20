//! Integers beyond 64 bits, in two's complement, little-endian.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyInt};

use crate::objects::{self, Count, dict, interned};

/// Returns the bytes of an `int`, as few as possible.
pub(super) fn to_bytes<'py>(number: &Bound<'py, PyInt>) -> PyResult<Bound<'py, PyBytes>> {
    let py = number.py();
    // The bits of -2^n do not count the sign's, which the byte after them would repeat.
    let is_negative = number.lt(0)?;
    let number = if is_negative {
        number.bitnot()?
    } else {
        number.clone().into_any()
    };
    let bits: usize = number.call_method0(interned!(py, "bit_length")?)?.extract()?;
    let number = if is_negative { number.bitnot()? } else { number };
    let bytes = number.call_method(
        interned!(py, "to_bytes")?,
        (Count((bits / 8 + 1) as u64), interned!(py, "little")?),
        Some(&signed(py)?),
    )?;
    Ok(bytes.cast_into()?)
}

/// Returns an `int`.
pub(super) fn from_bytes<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    let from_bytes = py.get_type::<PyInt>().getattr(interned!(py, "from_bytes")?)?;
    let arguments = (objects::bytes(py, bytes)?, interned!(py, "little")?);
    from_bytes.call(arguments, Some(&signed(py)?))
}

/// Returns the keyword argument `signed=True`.
fn signed(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let signed = dict(py)?;
    signed.set_item(interned!(py, "signed")?, true)?;
    Ok(signed)
}
