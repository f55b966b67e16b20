//! Python exceptions with a message, made without an allocation that could abort the process.
//!
//! If there is no memory for the message, the `MemoryError` is raised instead.

use std::fmt;

use pyo3::PyTypeInfo;
use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;

use crate::memory::format;
use crate::objects::text;

/// Returns an exception with a message.
#[cold]
pub(crate) fn error<E: PyTypeInfo>(py: Python<'_>, message: fmt::Arguments<'_>) -> PyErr {
    let made = format(message)
        .and_then(|message| text(py, &message))
        .and_then(|message| py.get_type::<E>().call1((message,)));
    match made {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

/// Returns an exception whose message is `rule` followed by an object and its type.
#[cold]
pub(crate) fn error_about<E: PyTypeInfo>(rule: fmt::Arguments<'_>, object: &Bound<'_, PyAny>) -> PyErr {
    match described(object) {
        Ok(description) => error::<E>(object.py(), format_args!("{rule} {description}")),
        Err(error) => error,
    }
}

/// Returns an object's `repr` for a message; a placeholder if `__repr__` raises.
///
/// `PyO3`'s `Display` and `Debug` print the failure to stderr instead.
pub(crate) fn repr(object: &Bound<'_, PyAny>) -> PyResult<String> {
    match object.repr() {
        Ok(repr) => format(format_args!("{}", repr.to_string_lossy())),
        Err(raised) if raised.is_instance_of::<PyMemoryError>(object.py()) => Err(raised),
        Err(_) => format(format_args!(
            "<an unprintable {}>",
            object.get_type().name()?.to_string_lossy()
        )),
    }
}

/// Returns an object with its type for a message: `'x' (<class 'str'>)`.
fn described(object: &Bound<'_, PyAny>) -> PyResult<String> {
    let (value, class) = (repr(object)?, repr(&object.get_type())?);
    format(format_args!("{value} ({class})"))
}
