//! Reads numbers from Python objects: timeouts, whose rules are Django's, and whole numbers of settings.

use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyComplex, PyFloat, PyInt, PyString};

use crate::errors::{error, error_about};
use crate::objects::{Float, float};
use crate::panics::guarded;

/// Returns a real number as a float, by the rules for timeouts; None for every other object.
#[pyfunction]
pub(crate) fn real_number(given: &Bound<'_, PyAny>) -> PyResult<Option<Float>> {
    guarded(given.py(), || Ok(real(given)?.map(Float)))
}

/// Reads a number that is not NaN. `rule` says in an error message what is accepted.
pub(crate) fn number(given: &Bound<'_, PyAny>, rule: &str) -> PyResult<f64> {
    let number =
        real(given)?.ok_or_else(|| error_about::<PyTypeError>(format_args!("{rule}, not"), given))?;
    if number.is_nan() {
        return Err(error::<PyValueError>(given.py(), format_args!("{rule}, not NaN")));
    }
    Ok(number)
}

/// Reads a real number; `None` if the object is not one.
///
/// A real number has `__float__` or `__index__`, or can be added to a float: Django adds timeouts to `time.time()`, and a
/// lazy object supports only the addition.
pub(crate) fn real(given: &Bound<'_, PyAny>) -> PyResult<Option<f64>> {
    if let Some(number) = plain(given) {
        return Ok(Some(number));
    }
    let py = given.py();
    let is_type_error = |raised: &PyErr| raised.is_instance_of::<PyTypeError>(py);
    if given.is_instance_of::<PyComplex>() {
        return Ok(None);
    }
    match given.extract::<f64>() {
        Ok(number) => return Ok(Some(number)),
        // An int beyond the range of floats.
        Err(raised) if raised.is_instance_of::<PyOverflowError>(py) => {
            return Ok(Some(if given.gt(0)? {
                f64::INFINITY
            } else {
                f64::NEG_INFINITY
            }));
        }
        Err(raised) if is_type_error(&raised) => {}
        Err(raised) => return Err(raised),
    }
    let sum = float(py, 0.0)?.add(given);
    match sum.and_then(|sum| sum.extract()) {
        Ok(number) => Ok(Some(number)),
        Err(raised) if is_type_error(&raised) => Ok(None),
        Err(raised) => Err(raised),
    }
}

/// Reads a plain `float` or a small plain `int`, as nearly all timeouts are. The rules for other objects take longer.
fn plain(given: &Bound<'_, PyAny>) -> Option<f64> {
    if let Ok(float) = given.cast_exact::<PyFloat>() {
        return Some(float.value());
    }
    let whole: i32 = given.cast_exact::<PyInt>().ok()?.extract().ok()?;
    Some(f64::from(whole))
}

/// Reads a whole number from `300`, `300.0`, `"300"` or `"3e2"`, saturated to the range of `i64`; `None` if the value is
/// not one.
pub(crate) fn whole_number(value: &Bound<'_, PyAny>) -> Option<i64> {
    if value.is_instance_of::<PyBool>() {
        return None;
    }
    if value.is_instance_of::<PyString>() {
        return from_text(value);
    }
    if let Ok(float) = value.cast::<PyFloat>() {
        return from_float(float.value());
    }
    from_int(value)
}

/// Parses a text with Python's `int` and `float`, so that every setting accepts the same texts.
fn from_text(text: &Bound<'_, PyAny>) -> Option<i64> {
    let py = text.py();
    if let Ok(number) = py.get_type::<PyInt>().call1((text,)) {
        return from_int(&number);
    }
    let number = py.get_type::<PyFloat>().call1((text,)).ok()?;
    from_float(number.extract().ok()?)
}

#[allow(clippy::cast_possible_truncation)] // `as` saturates
fn from_float(number: f64) -> Option<i64> {
    (number.is_finite() && number.fract() == 0.0).then_some(number as i64)
}

fn from_int(number: &Bound<'_, PyAny>) -> Option<i64> {
    number.extract().ok().or_else(|| {
        let number = number.cast::<PyInt>().ok()?;
        Some(if number.gt(0).ok()? { i64::MAX } else { i64::MIN })
    })
}
