//! The form of values on the server, which is that of Django's `RedisCache`.
//!
//! An exact `int` is decimal text, so that the server can add to it. Everything else is pickled.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyInt;

use crate::arguments::Any;
use crate::errors::error;
use crate::memory::{concat, format};
use crate::objects::{self, int, interned, text};
use crate::values::pickle;

/// The largest value that a server takes by default (`proto-max-bulk-len`).
const MAX_LEN: usize = 512 << 20;
/// The first byte of every pickle of protocol 2 and later.
const PICKLE: u8 = 0x80;

/// Returns a value as the server stores it.
///
/// Fails with what pickling raises, and with `ValueError` if the value is larger than a server accepts.
pub(super) fn encode(value: Any<'_, '_>, protocol: Option<i32>) -> PyResult<Vec<u8>> {
    let py = value.py();
    let encoded = match value.cast_exact::<PyInt>() {
        Ok(number) => match number.extract::<i64>() {
            Ok(number) => format(format_args!("{number}"))?.into_bytes(),
            Err(_) => concat([number.str()?.to_str()?.as_bytes()])?,
        },
        Err(_) => concat([pickle::dumps(value, protocol)?.as_bytes()])?,
    };
    if encoded.len() > MAX_LEN {
        let len = encoded.len();
        return Err(error::<PyValueError>(
            py,
            format_args!("the value has {len} bytes when pickled; a server accepts at most {MAX_LEN}"),
        ));
    }
    Ok(encoded)
}

/// Returns the value of what the server stores.
///
/// Fails with what unpickling raises.
pub(super) fn decode(py: Python<'_>, stored: &[u8]) -> PyResult<Py<PyAny>> {
    if let Some(number) = decimal(stored) {
        return Ok(int(py, number)?.into_any().unbind());
    }
    let bytes = objects::bytes(py, stored)?;
    if stored.first() != Some(&PICKLE) {
        // An int of more than 64 bits, or of another spelling.
        let number = py.get_type::<PyInt>().call1((&bytes,));
        if let Ok(number) = number {
            return Ok(number.unbind());
        }
    }
    pickle::loads(bytes.as_any()).map(Bound::unbind)
}

/// Reads a decimal number as the server writes it.
fn decimal(stored: &[u8]) -> Option<i64> {
    let first = stored.first()?;
    if !first.is_ascii_digit() && *first != b'-' {
        return None;
    }
    std::str::from_utf8(stored).ok()?.parse().ok()
}

/// Returns an exact `int` argument in 64 bits. Fails with `TypeError` or `ValueError` for anything that a server cannot add.
pub(super) fn delta(value: Any<'_, '_>) -> PyResult<i64> {
    let py = value.py();
    let index = value.call_method0(interned!(py, "__index__")?).map_err(|_| {
        crate::errors::error_about::<pyo3::exceptions::PyTypeError>(
            format_args!("the server adds whole numbers only: delta must be an int, not"),
            value,
        )
    })?;
    index
        .extract()
        .map_err(|_| error::<PyValueError>(py, format_args!("delta must fit in 64 bits")))
}

/// Returns a lock's token as a stored value, so that `get` can read it.
pub(super) fn encode_token(py: Python<'_>, token: &str) -> PyResult<Vec<u8>> {
    encode(text(py, token)?.as_any(), None)
}
