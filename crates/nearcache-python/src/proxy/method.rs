//! Looking up a name on a backend as the interpreter does for `backend.name(...)`: without making a bound method.
#![allow(unsafe_code)]

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::python::OrRaised;

// Exported by the interpreter and found by the linker on these platforms.
#[cfg(not(any(windows, PyPy, GraalPy, Py_3_15)))]
unsafe extern "C" {
    /// Looks up `object.name`, as the interpreter does for a call. Returns 1 and a new reference to an unbound method, if
    /// the class has one and nothing takes precedence over it; else 0 and `object.name`, or null with an exception set.
    ///
    /// It is in no header of some versions, but all export it, since modules made by Cython use it.
    #[link_name = "_PyObject_GetMethod"]
    fn get_method(
        object: *mut ffi::PyObject,
        name: *mut ffi::PyObject,
        method: *mut *mut ffi::PyObject,
    ) -> std::ffi::c_int;
}

/// Looks up `object.name` where the interpreter's function is not available: the method is then always bound, and is not
/// kept.
#[cfg(any(windows, PyPy, GraalPy, Py_3_15))]
unsafe fn get_method(
    object: *mut ffi::PyObject,
    name: *mut ffi::PyObject,
    method: *mut *mut ffi::PyObject,
) -> std::ffi::c_int {
    // SAFETY: the caller passes live objects and a valid address, as for the interpreter's function.
    unsafe { *method = ffi::PyObject_GetAttr(object, name) };
    0
}

/// The result of looking up a name on an object.
pub(super) struct MethodLookup<'py> {
    found: OrRaised<'py>,
    /// Whether it is a method of the class that has to be bound to the object.
    is_unbound: bool,
}

impl<'py> MethodLookup<'py> {
    pub(super) fn new(object: &Bound<'py, PyAny>, name: &Bound<'py, PyString>) -> Self {
        let mut found = std::ptr::null_mut();
        // SAFETY: both objects are alive; the function stores a new reference, or null with an exception set.
        unsafe {
            let is_unbound = get_method(object.as_ptr(), name.as_ptr(), &raw mut found) == 1;
            Self {
                found: Bound::from_owned_ptr_or_opt(object.py(), found),
                is_unbound,
            }
        }
    }

    /// Returns whether the result is this method of the class.
    pub(super) fn is_unbound_method(&self, method: &Py<PyAny>) -> bool {
        self.is_unbound && self.found.as_ref().is_some_and(|found| found.is(method))
    }

    /// Returns `object.name`.
    pub(super) fn bound(self, object: &Bound<'py, PyAny>) -> OrRaised<'py> {
        let found = self.found?;
        if self.is_unbound {
            bind(&found, object)
        } else {
            Some(found)
        }
    }

    /// Returns `object.name`, and the descriptor in the class if the bound method may be kept.
    ///
    /// That is so for a built-in method, which refers to nothing but its object.
    pub(super) fn bound_and_descriptor(
        self,
        object: &Bound<'py, PyAny>,
    ) -> (OrRaised<'py>, Option<Bound<'py, PyAny>>) {
        let Some(found) = self.found else {
            return (None, None);
        };
        if !self.is_unbound {
            return (Some(found), None);
        }
        let Some(bound) = bind(&found, object) else {
            return (None, None);
        };
        // SAFETY: both functions read the type of a live object.
        let may_be_kept = unsafe {
            ffi::Py_IS_TYPE(found.as_ptr(), &raw mut ffi::PyMethodDescr_Type) != 0
                && ffi::PyCFunction_CheckExact(bound.as_ptr()) != 0
        };
        (Some(bound), may_be_kept.then_some(found))
    }
}

/// Binds a method that was found in an object's class.
fn bind<'py>(method: &Bound<'py, PyAny>, object: &Bound<'py, PyAny>) -> OrRaised<'py> {
    // SAFETY: all objects are alive, and so is the type, which `object` refers to. The slot has the signature of
    // `descrgetfunc` and returns a new reference, or null with an exception set.
    unsafe {
        let Some(get) = (*method.get_type_ptr()).tp_descr_get else {
            return Some(method.clone());
        };
        let bound = get(method.as_ptr(), object.as_ptr(), object.get_type_ptr().cast());
        Bound::from_owned_ptr_or_opt(object.py(), bound)
    }
}
