//! Whole numbers as settings give them: `300`, `300.0`, `"300"` or `"3e2"`.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat, PyInt, PyString};

/// Reads a whole number, saturated to the range of `i64`. `None` if the value is not one.
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

/// Python reads the text, so that what it accepts in one setting is accepted in all.
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
