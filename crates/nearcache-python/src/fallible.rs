//! Python objects and Rust memory, with an exception where `PyO3`'s constructors panic and the standard library's abort.
//!
//! `PyString::new` and the like panic if Python has no memory for the object. Here the `MemoryError` that Python raised is
//! returned. `docs/design/local.md` lists what is left.
#![allow(unsafe_code)]

use std::collections::TryReserveError;
use std::fmt::{self, Write};

use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use pyo3::{PyTypeInfo, ffi};

/// A string that Python keeps once, made at its first use: `intern!` with a result.
macro_rules! interned {
    ($py:expr, $text:literal) => {{
        static TEXT: $crate::imported::Imported<pyo3::Py<pyo3::types::PyString>> =
            $crate::imported::Imported::new();
        TEXT.get_or_make(|| $crate::fallible::interned_text($py, $text))
            .map(|text| text.bind($py))
    }};
}
pub(crate) use interned;

/// A new reference from a function of Python's, or the exception that it raised.
///
/// # Safety
///
/// `object` is a new reference to a `T`, or null with an exception set.
unsafe fn owned<T>(py: Python<'_>, object: *mut ffi::PyObject) -> PyResult<Bound<'_, T>> {
    // SAFETY: the caller's promise.
    unsafe { Bound::from_owned_ptr_or_err(py, object).map(|object| object.cast_into_unchecked()) }
}

/// A length as Python has it. No slice is longer than that.
fn size(len: usize) -> PyResult<ffi::Py_ssize_t> {
    ffi::Py_ssize_t::try_from(len).map_err(no_memory)
}

pub(crate) fn text<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyString>> {
    // SAFETY: reads as many bytes as the text has, and returns a new str or null.
    unsafe {
        let made = ffi::PyUnicode_FromStringAndSize(text.as_ptr().cast(), size(text.len())?);
        owned(py, made)
    }
}

/// A text that is the same object for everybody; see [`interned!`].
pub(crate) fn interned_text(py: Python<'_>, name: &str) -> PyResult<Py<PyString>> {
    let mut object = text(py, name)?.into_ptr();
    // SAFETY: `object` is a str and this function's own reference, which it may replace by another one.
    unsafe {
        ffi::PyUnicode_InternInPlace(&raw mut object);
        owned(py, object).map(Bound::unbind)
    }
}

pub(crate) fn bytes<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    // SAFETY: reads as many bytes as there are, and returns a new `bytes` or null.
    unsafe {
        let made = ffi::PyBytes_FromStringAndSize(bytes.as_ptr().cast(), size(bytes.len())?);
        owned(py, made)
    }
}

pub(crate) fn int(py: Python<'_>, number: i64) -> PyResult<Bound<'_, PyInt>> {
    // SAFETY: returns a new int or null.
    unsafe { owned(py, ffi::PyLong_FromLongLong(number)) }
}

pub(crate) fn float(py: Python<'_>, number: f64) -> PyResult<Bound<'_, PyFloat>> {
    // SAFETY: returns a new float or null.
    unsafe { owned(py, ffi::PyFloat_FromDouble(number)) }
}

/// An empty list.
pub(crate) fn list(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    // SAFETY: returns a new list or null.
    unsafe { owned(py, ffi::PyList_New(0)) }
}

/// A list of the same items.
pub(crate) fn list_copy<'py>(list: &Bound<'py, PyList>) -> PyResult<Bound<'py, PyList>> {
    // SAFETY: it is a list; returns a new one or null.
    unsafe {
        let copy = ffi::PyList_GetSlice(list.as_ptr(), 0, ffi::PY_SSIZE_T_MAX);
        owned(list.py(), copy)
    }
}

/// An empty dict.
pub(crate) fn dict(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    // SAFETY: returns a new dict or null.
    unsafe { owned(py, ffi::PyDict_New()) }
}

/// A tuple of these items.
pub(crate) fn tuple<'py>(py: Python<'py>, items: Vec<Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyTuple>> {
    // SAFETY: returns a new tuple or null. Each of its places is then filled, once, with a reference of its own.
    unsafe {
        let tuple = owned(py, ffi::PyTuple_New(size(items.len())?))?;
        for (at, item) in (0..).zip(items) {
            ffi::PyTuple_SetItem(tuple.as_ptr(), at, item.into_ptr());
        }
        Ok(tuple)
    }
}

/// A number that a method or an attribute returns. (`PyO3`'s own conversion panics.)
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) u64);

impl<'py> IntoPyObject<'py> for Count {
    type Target = PyInt;
    type Output = Bound<'py, PyInt>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Bound<'py, PyInt>> {
        // SAFETY: returns a new int or null.
        unsafe { owned(py, ffi::PyLong_FromUnsignedLongLong(self.0)) }
    }
}

/// As [`Count`].
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Ratio(pub(crate) f64);

impl<'py> IntoPyObject<'py> for Ratio {
    type Target = PyFloat;
    type Output = Bound<'py, PyFloat>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Bound<'py, PyFloat>> {
        float(py, self.0)
    }
}

/// A `MemoryError`, which Python has ready; it takes no memory to raise it.
pub(crate) fn no_memory<E>(_: E) -> PyErr {
    PyMemoryError::new_err(())
}

/// An empty vector with room for so many elements.
pub(crate) fn vec<T>(len: usize) -> PyResult<Vec<T>> {
    let mut vec = Vec::new();
    vec.try_reserve_exact(len).map_err(no_memory)?;
    Ok(vec)
}

/// The bytes of all these parts, one after the other.
pub(crate) fn concat<const N: usize>(parts: [&[u8]; N]) -> PyResult<Vec<u8>> {
    let mut whole = vec(parts.iter().map(|part| part.len()).sum())?;
    for part in parts {
        whole.extend_from_slice(part);
    }
    Ok(whole)
}

/// Adds an element to a vector.
pub(crate) fn push<T>(vec: &mut Vec<T>, element: T) -> PyResult<()> {
    vec.try_reserve(1).map_err(no_memory)?;
    vec.push(element);
    Ok(())
}

/// A text that is written piece by piece.
struct Message(String);

impl Write for Message {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        self.0
            .try_reserve(piece.len())
            .map_err(|_: TryReserveError| fmt::Error)?;
        self.0.push_str(piece);
        Ok(())
    }
}

/// A text as `format!` makes it.
pub(crate) fn format(message: fmt::Arguments<'_>) -> PyResult<String> {
    let mut text = Message(String::new());
    text.write_fmt(message).map_err(no_memory)?;
    Ok(text.0)
}

/// An exception with a message; the one that was raised instead if that cannot be made.
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

/// An exception about an object that is not what `rule` says.
#[cold]
pub(crate) fn error_about<E: PyTypeInfo>(rule: fmt::Arguments<'_>, object: &Bound<'_, PyAny>) -> PyErr {
    match described(object) {
        Ok(object_is) => error::<E>(object.py(), format_args!("{rule} {object_is}")),
        Err(error) => error,
    }
}

/// An object for an error's message: its `repr`. (`PyO3`'s way reports a failure on stderr and goes on.)
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

/// An object for an error's message, with its type: `'x' (<class 'str'>)`.
pub(crate) fn described(object: &Bound<'_, PyAny>) -> PyResult<String> {
    let (value, kind) = (repr(object)?, repr(&object.get_type())?);
    format(format_args!("{value} ({kind})"))
}

/// Asks for memory and gives it back, before something is done that aborts the process if it finds none.
///
/// Opening a store allocates small blocks in the standard library, which has no other way. They fit into what this gives
/// back.
pub(crate) fn probe() -> PyResult<()> {
    const BYTES: usize = 64 << 10;
    vec::<u8>(BYTES).map(drop)
}
