//! What the look-up needs of the C API, as safe functions that run no Python code of a program's.
//!
//! Results are `Option`s where an error and "not there" have the same consequence: Django's own code is asked. Unlike a
//! `PyResult`, an `Option<Bound>` is returned in a register, and moving results through memory cost 20 ns of a `get`.
//!
//! Soundness: a `Bound` proves that the thread is attached and that the object is alive. Each function passes only such
//! objects, of the type that the C function requires or checks itself, and takes back a new reference or null; an exception
//! is fetched or cleared.
#![allow(unsafe_code)]

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyType};

/// A result as C functions return it: an object, or `None` with a Python exception set.
pub(super) type OrRaised<'py> = Option<Bound<'py, PyAny>>;

/// Returns whether an object is of exactly this class.
pub(super) fn is_exactly(object: &Bound<'_, PyAny>, class: &Py<PyType>) -> bool {
    object.get_type_ptr().cast() == class.as_ptr()
}

/// Returns an instance's `__dict__`; `None` if it has none.
pub(super) fn instance_dict<'py>(instance: &Bound<'py, PyAny>) -> Option<Bound<'py, PyDict>> {
    // SAFETY: the function takes any object and returns a new reference to its dict, or null with an exception set. The
    // `__dict__` of an instance of Django's proxy or handler is a dict; CPython refuses to assign anything else to it.
    unsafe {
        let dict = ffi::PyObject_GenericGetDict(instance.as_ptr(), std::ptr::null_mut());
        if dict.is_null() {
            ffi::PyErr_Clear();
            return None;
        }
        Some(Bound::from_owned_ptr(instance.py(), dict).cast_into_unchecked())
    }
}

/// Returns a dict's value for a name; `None` if there is none.
pub(super) fn dict_item<'py>(
    dict: &Bound<'py, PyDict>,
    name: &Bound<'py, PyString>,
) -> Option<Bound<'py, PyAny>> {
    let mut value = std::ptr::null_mut();
    // SAFETY: `dict` is a dict; the function stores a new reference or null in `value`.
    unsafe {
        if ffi::compat::PyDict_GetItemRef(dict.as_ptr(), name.as_ptr(), &raw mut value) < 0 {
            ffi::PyErr_Clear();
        }
        Bound::from_owned_ptr_or_opt(dict.py(), value)
    }
}

/// Returns a dict's values for two names; `None` unless it has both.
///
/// With the GIL the names must be the dict's first two, in this order. Reading them in order is faster than looking them
/// up.
pub(super) fn first_two_items<'py>(
    dict: &Bound<'py, PyDict>,
    first: &Bound<'py, PyString>,
    second: &Bound<'py, PyString>,
) -> Option<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    // Without the GIL another thread could change the dict between `PyDict_Next` and taking a reference.
    if cfg!(Py_GIL_DISABLED) {
        return Some((dict_item(dict, first)?, dict_item(dict, second)?));
    }
    let mut position = 0;
    let mut next = |name: &Bound<'_, PyString>| {
        let (mut key, mut value) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: `dict` is a dict; the function stores borrowed references if there is an entry. With the GIL held,
        // nothing changes the dict before the value has a reference of its own. `key` is only compared.
        unsafe {
            let found = ffi::PyDict_Next(dict.as_ptr(), &raw mut position, &raw mut key, &raw mut value);
            (found != 0 && key == name.as_ptr()).then(|| Bound::from_borrowed_ptr(dict.py(), value))
        }
    };
    Some((next(first)?, next(second)?))
}

/// Returns a context variable's value in the current context; `None` if it has none, or the object is not a context
/// variable.
pub(super) fn context_value<'py>(variable: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    let mut value = std::ptr::null_mut();
    // SAFETY: the function checks the type of `variable`, and stores a new reference or null in `value`.
    unsafe {
        if ffi::PyContextVar_Get(variable.as_ptr(), std::ptr::null_mut(), &raw mut value) < 0 {
            ffi::PyErr_Clear();
        }
        Bound::from_owned_ptr_or_opt(variable.py(), value)
    }
}

/// Returns the number by which Python knows this thread, as `threading.get_ident()`.
pub(super) fn thread_ident(_: Python<'_>) -> std::ffi::c_ulong {
    // SAFETY: the function has no preconditions.
    unsafe { ffi::PyThread_get_thread_ident() }
}

/// Returns an object's own attribute, as `object.__getattribute__` does.
pub(super) fn own_attribute<'py>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: the function checks that `name` is a str, and returns a new reference or null with an exception set.
    unsafe {
        let found = ffi::PyObject_GenericGetAttr(object.as_ptr(), name.as_ptr());
        Bound::from_owned_ptr_or_err(object.py(), found)
    }
}
