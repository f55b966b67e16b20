//! Python objects, made and used through the C API where `PyO3`'s own functions panic or call back.
//!
//! `PyString::new` and the like panic if Python has no memory for the object. The functions here return the `MemoryError`
//! that Python raised. `docs/design/local.md` ("When memory is short") lists what remains.
//!
//! Soundness: a `Bound` proves that the thread is attached and that the object is alive. Each function passes only such
//! objects, of the type that the C function requires, and takes back a new reference or null with an exception set.
#![allow(unsafe_code)]

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::critical_section::with_critical_section;
#[cfg(shared)]
use pyo3::types::PyFrozenSet;
use pyo3::types::{PyBytes, PyDict, PyFloat, PyInt, PyList, PySet, PyString, PyTuple};

use crate::memory::no_memory;

/// Returns an interned Python string, made at its first use: `PyO3`'s `intern!` with a result.
macro_rules! interned {
    ($py:expr, $text:literal) => {{
        static TEXT: $crate::nonblocking_once::NonblockingOnce<pyo3::Py<pyo3::types::PyString>> =
            $crate::nonblocking_once::NonblockingOnce::new();
        TEXT.get_or_make(|| $crate::objects::interned_text($py, $text))
            .map(|text| text.bind($py))
    }};
}
pub(crate) use interned;

/// Takes ownership of a function's result, or returns the exception that it raised.
///
/// # Safety
///
/// `object` is a new reference to a `T`, or null with an exception set.
unsafe fn owned<T>(py: Python<'_>, object: *mut ffi::PyObject) -> PyResult<Bound<'_, T>> {
    // SAFETY: the caller's promise.
    unsafe { Bound::from_owned_ptr_or_err(py, object).map(|object| object.cast_into_unchecked()) }
}

/// Returns a length as Python takes it. No slice is longer.
fn size(len: usize) -> PyResult<ffi::Py_ssize_t> {
    ffi::Py_ssize_t::try_from(len).map_err(no_memory)
}

/// Returns a `str`.
pub(crate) fn text<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyString>> {
    // SAFETY: the function reads `len` bytes, which the slice has, and returns a new str or null.
    unsafe {
        let made = ffi::PyUnicode_FromStringAndSize(text.as_ptr().cast(), size(text.len())?);
        owned(py, made)
    }
}

/// Returns an interned `str`; see [`interned!`].
pub(crate) fn interned_text(py: Python<'_>, name: &str) -> PyResult<Py<PyString>> {
    let mut object = text(py, name)?.into_ptr();
    // SAFETY: `object` is a str and an owned reference, which the function may replace by a reference to an equal str.
    unsafe {
        ffi::PyUnicode_InternInPlace(&raw mut object);
        owned(py, object).map(Bound::unbind)
    }
}

/// Returns a `bytes` with a copy of these bytes.
pub(crate) fn bytes<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    // SAFETY: the function reads `len` bytes, which the slice has, and returns a new `bytes` or null.
    unsafe {
        let made = ffi::PyBytes_FromStringAndSize(bytes.as_ptr().cast(), size(bytes.len())?);
        owned(py, made)
    }
}

/// Returns an `int`.
pub(crate) fn int(py: Python<'_>, number: i64) -> PyResult<Bound<'_, PyInt>> {
    // SAFETY: the function takes any number and returns an owned int or null.
    unsafe { owned(py, ffi::PyLong_FromLongLong(number)) }
}

/// Returns a `float`.
pub(crate) fn float(py: Python<'_>, number: f64) -> PyResult<Bound<'_, PyFloat>> {
    // SAFETY: the function takes any number and returns an owned float or null.
    unsafe { owned(py, ffi::PyFloat_FromDouble(number)) }
}

/// Returns an empty `list`.
pub(crate) fn list(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    // SAFETY: the function returns a new list or null.
    unsafe { owned(py, ffi::PyList_New(0)) }
}

/// Returns a copy of a list. Atomic with respect to other threads.
pub(crate) fn list_copy<'py>(list: &Bound<'py, PyList>) -> PyResult<Bound<'py, PyList>> {
    // SAFETY: `list` is a list; the function clamps the end to its length and returns a new list or null. Without the GIL
    // it locks the list.
    unsafe {
        let copy = ffi::PyList_GetSlice(list.as_ptr(), 0, ffi::PY_SSIZE_T_MAX);
        owned(list.py(), copy)
    }
}

/// Returns a copy of a set, without calling the members' `__hash__` or `__eq__`. Atomic with respect to other threads.
pub(crate) fn set_copy<'py>(set: &Bound<'py, PySet>) -> PyResult<Bound<'py, PySet>> {
    // SAFETY: the function takes any iterable and returns a new set or null. It copies an exact set with the hashes stored
    // in it. Without the GIL it locks the set.
    unsafe { owned(set.py(), ffi::PySet_New(set.as_ptr())) }
}

/// Returns an empty `dict`.
pub(crate) fn dict(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    // SAFETY: the function returns a new dict or null.
    unsafe { owned(py, ffi::PyDict_New()) }
}

/// Sets the value of a key. (`PyO3`'s own function is not inlined, which a tree of many dicts notices.)
#[cfg(shared)]
#[inline]
pub(crate) fn set_item(
    dict: &Bound<'_, PyDict>,
    key: &Bound<'_, PyAny>,
    value: &Bound<'_, PyAny>,
) -> PyResult<()> {
    // SAFETY: the function takes a dict and any objects, and makes references of its own. It sets an exception if it fails.
    succeeded(dict.py(), unsafe {
        ffi::PyDict_SetItem(dict.as_ptr(), key.as_ptr(), value.as_ptr())
    })
}

/// Adds an item to a set; see [`set_item`].
#[cfg(shared)]
#[inline]
pub(crate) fn add_item(set: &Bound<'_, PySet>, item: &Bound<'_, PyAny>) -> PyResult<()> {
    // SAFETY: as in `set_item`.
    succeeded(set.py(), unsafe { ffi::PySet_Add(set.as_ptr(), item.as_ptr()) })
}

/// Returns the exception of a function that has failed if its status is not 0.
#[cfg(shared)]
#[inline]
fn succeeded(py: Python<'_>, status: std::ffi::c_int) -> PyResult<()> {
    if status == 0 {
        Ok(())
    } else {
        Err(PyErr::fetch(py))
    }
}

/// Returns an iterator over the keys and values of a dict. If the dict is changed meanwhile, it may skip or repeat some.
///
/// `PyO3`'s own iterator panics then.
pub(crate) fn items<'a, 'py>(dict: &'a Bound<'py, PyDict>) -> Items<'a, 'py> {
    Items { dict, position: 0 }
}

/// The iterator of [`items`].
#[derive(Clone)]
pub(crate) struct Items<'a, 'py> {
    dict: &'a Bound<'py, PyDict>,
    position: ffi::Py_ssize_t,
}

impl<'py> Iterator for Items<'_, 'py> {
    type Item = (Bound<'py, PyAny>, Bound<'py, PyAny>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (mut key, mut value) = (std::ptr::null_mut(), std::ptr::null_mut());
        // Another thread may be changing any dict that it can find, be it by `gc.get_objects()`. With the GIL it cannot
        // during this step. Without, the critical section keeps it out. (With the GIL that is free.)
        with_critical_section(self.dict, || {
            // SAFETY: `dict` is a dict and alive. `PyDict_Next` compares the position with the dict's present size. The
            // borrowed key and value stay alive until the dict changes, which it cannot before they have references of
            // their own.
            unsafe {
                let dict = self.dict.as_ptr();
                if ffi::PyDict_Next(dict, &raw mut self.position, &raw mut key, &raw mut value) == 0 {
                    return None;
                }
                let own = |object| Bound::from_borrowed_ptr(self.dict.py(), object);
                Some((own(key), own(value)))
            }
        })
    }
}

/// Returns how many references to an object there are now, at least.
#[cfg(shared)]
pub(crate) fn reference_count(object: &Bound<'_, PyAny>) -> ffi::Py_ssize_t {
    // SAFETY: the object is alive, and the thread is attached.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) }
}

/// Returns whether a dict has exactly these keys, the very objects, in this order.
#[cfg(shared)]
pub(crate) fn has_keys(dict: &Bound<'_, PyDict>, keys: &[Bound<'_, PyAny>]) -> bool {
    let (mut position, mut key) = (0, std::ptr::null_mut());
    let mut keys = keys.iter();
    with_critical_section(dict, || {
        // SAFETY: as in `Items::next`. The borrowed key is only compared.
        unsafe {
            while ffi::PyDict_Next(
                dict.as_ptr(),
                &raw mut position,
                &raw mut key,
                std::ptr::null_mut(),
            ) != 0
            {
                if keys.next().map(Bound::as_ptr) != Some(key) {
                    return false;
                }
            }
        }
        keys.next().is_none()
    })
}

/// Returns a `tuple` of these items.
pub(crate) fn tuple_of<'py>(
    py: Python<'py>,
    items: impl ExactSizeIterator<Item = Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyTuple>> {
    // SAFETY: the first function returns a new tuple of that length or null (for length 0 a shared one, of which nothing is
    // set). The second one takes an owned reference for each item. A new tuple is found by `gc.get_objects()`, but not
    // before all items are set: nothing here gives the GIL away, or lets another thread stop the world.
    unsafe {
        let tuple = owned(py, ffi::PyTuple_New(size(items.len())?))?;
        for (at, item) in (0..).zip(items) {
            ffi::PyTuple_SetItem(tuple.as_ptr(), at, item.into_ptr());
        }
        Ok(tuple)
    }
}

/// Returns a `list` of these items.
pub(crate) fn list_of<'py>(
    py: Python<'py>,
    items: impl ExactSizeIterator<Item = Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyList>> {
    // SAFETY: as in `tuple_of`.
    unsafe {
        let list = owned(py, ffi::PyList_New(size(items.len())?))?;
        for (at, item) in (0..).zip(items) {
            ffi::PyList_SetItem(list.as_ptr(), at, item.into_ptr());
        }
        Ok(list)
    }
}

/// Returns an empty `set`.
pub(crate) fn set(py: Python<'_>) -> PyResult<Bound<'_, PySet>> {
    // SAFETY: the function takes null for no members and returns a new set or null.
    unsafe { owned(py, ffi::PySet_New(std::ptr::null_mut())) }
}

/// Returns a `frozenset` of the members. Fails with what their `__hash__` and `__eq__` raise.
pub(crate) fn frozen_set<'py>(members: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyFrozenSet>> {
    // SAFETY: the function takes any iterable and returns a new frozenset or null.
    unsafe { owned(members.py(), ffi::PyFrozenSet_New(members.as_ptr())) }
}

/// Returns a `bytearray` with a copy of an object's memory.
pub(crate) fn byte_array_of<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: the function takes any object with a buffer and returns a new bytearray or null.
    unsafe { owned(object.py(), ffi::PyByteArray_FromObject(object.as_ptr())) }
}

/// Returns a `bytes` with a copy of an object's memory, such as a `bytearray`'s.
pub(crate) fn bytes_of<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    // SAFETY: the function takes any object and returns a `bytes` or null. The objects here are no `bytes` themselves, so
    // the result is a new one.
    unsafe { owned(object.py(), ffi::PyBytes_FromObject(object.as_ptr())) }
}

/// Returns a module that has been imported; `None` if it has not.
pub(crate) fn imported_module<'py>(name: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    // SAFETY: the function takes any object, and returns a new reference, null, or null with an exception set.
    let module = unsafe { Bound::from_owned_ptr_or_opt(name.py(), ffi::PyImport_GetModule(name.as_ptr())) };
    match (module, PyErr::take(name.py())) {
        (_, Some(raised)) => Err(raised),
        (module, None) => Ok(module),
    }
}

/// Returns the interned object that is equal to a name. Any other object than exactly a `str` is returned itself.
pub(crate) fn intern<'py>(name: &Bound<'py, PyAny>) -> Bound<'py, PyAny> {
    let mut object = name.clone().into_ptr();
    // SAFETY: `object` is an owned reference, which the function may replace by a reference to an equal str. It does
    // nothing with an object that is not exactly a str.
    unsafe {
        ffi::PyUnicode_InternInPlace(&raw mut object);
        Bound::from_owned_ptr(name.py(), object)
    }
}

/// Returns a `complex`.
#[cfg(shared)]
pub(crate) fn complex(py: Python<'_>, real: f64, imaginary: f64) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: the function takes any numbers and returns an owned complex or null.
    unsafe { owned(py, ffi::PyComplex_FromDoubles(real, imaginary)) }
}

/// Returns a `bytearray` with a copy of these bytes.
#[cfg(shared)]
pub(crate) fn byte_array<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: the function reads `len` bytes, which the slice has, and returns a new bytearray or null.
    unsafe {
        let made = ffi::PyByteArray_FromStringAndSize(bytes.as_ptr().cast(), size(bytes.len())?);
        owned(py, made)
    }
}

/// Assigns an attribute as `object.__setattr__` does; deletes it if there is no value.
pub(crate) fn set_own_attribute(
    object: &Bound<'_, PyAny>,
    name: &Bound<'_, PyString>,
    value: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let value = value.map_or(std::ptr::null_mut(), Bound::as_ptr);
    // SAFETY: object and name are alive, and so is the value unless it is null, which stands for a deletion.
    let status = unsafe { ffi::PyObject_GenericSetAttr(object.as_ptr(), name.as_ptr(), value) };
    if status == 0 {
        Ok(())
    } else {
        Err(PyErr::fetch(object.py()))
    }
}

/// A non-negative number that becomes an `int`. (`PyO3`'s own conversion panics if there is no memory.)
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) u64);

impl<'py> IntoPyObject<'py> for Count {
    type Target = PyInt;
    type Output = Bound<'py, PyInt>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Bound<'py, PyInt>> {
        // SAFETY: the function takes any number and returns an owned int or null.
        unsafe { owned(py, ffi::PyLong_FromUnsignedLongLong(self.0)) }
    }
}

/// A number that becomes a `float`. (`PyO3`'s own conversion panics if there is no memory.)
#[derive(Clone, Copy, Default, PartialEq)]
pub(crate) struct Float(pub(crate) f64);

impl<'py> IntoPyObject<'py> for Float {
    type Target = PyFloat;
    type Output = Bound<'py, PyFloat>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Bound<'py, PyFloat>> {
        float(py, self.0)
    }
}
