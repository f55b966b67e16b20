//! What a backend gives for a name, without making a bound method anew each time.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::OrRaised;
use super::latest::Latest;

// Where the interpreter is known to have it, and the linker finds it there.
#[cfg(not(any(windows, PyPy, GraalPy, Py_3_15)))]
unsafe extern "C" {
    /// What the interpreter calls for `object.name(...)`: 1 and a new reference to a method that is not yet bound, if the class
    /// has one and nothing goes before it; else 0 and what `object.name` is, or null and an error. In no header of some
    /// versions, but exported by all, since Cython's modules use it.
    #[link_name = "_PyObject_GetMethod"]
    fn get_method(
        object: *mut ffi::PyObject,
        name: *mut ffi::PyObject,
        method: *mut *mut ffi::PyObject,
    ) -> std::ffi::c_int;
}

/// Elsewhere: always what `object.name` is, so that nothing is kept.
#[cfg(any(windows, PyPy, GraalPy, Py_3_15))]
unsafe fn get_method(
    object: *mut ffi::PyObject,
    name: *mut ffi::PyObject,
    method: *mut *mut ffi::PyObject,
) -> std::ffi::c_int {
    // SAFETY: as for the interpreter's.
    unsafe { *method = ffi::PyObject_GetAttr(object, name) };
    0
}

/// What an object has by a name.
pub(super) struct Found<'py> {
    object: OrRaised<'py>,
    /// Whether it is yet to be bound to the object.
    is_unbound: bool,
}

impl<'py> Found<'py> {
    pub(super) fn of(object: &Bound<'py, PyAny>, name: &Bound<'py, PyString>) -> Self {
        let mut found = std::ptr::null_mut();
        // SAFETY: both are alive. A new reference comes back, or null with an error.
        unsafe {
            let is_unbound = get_method(object.as_ptr(), name.as_ptr(), &raw mut found) == 1;
            Self {
                object: Bound::from_owned_ptr_or_opt(object.py(), found),
                is_unbound,
            }
        }
    }

    /// Whether it is this method, yet to be bound.
    pub(super) fn is_unbound(&self, method: &Py<PyAny>) -> bool {
        self.is_unbound && self.object.as_ref().is_some_and(|found| found.is(method))
    }

    /// What `object.name` is.
    pub(super) fn bound(self, object: &Bound<'py, PyAny>) -> OrRaised<'py> {
        let found = self.object?;
        if self.is_unbound {
            bind(found, object)
        } else {
            Some(found)
        }
    }

    /// The same, and it is kept for the next time if it may be: if it is a built-in method of which nothing is held but
    /// its object.
    pub(super) fn bound_and_kept(
        self,
        object: &Bound<'py, PyAny>,
        name: &Bound<'py, PyString>,
    ) -> OrRaised<'py> {
        let found = self.object?;
        if !self.is_unbound {
            return Some(found);
        }
        let bound = bind(found.clone(), object)?;
        // SAFETY: only their types are looked at.
        let may_be_kept = unsafe {
            ffi::Py_IS_TYPE(found.as_ptr(), &raw mut ffi::PyMethodDescr_Type) != 0
                && ffi::PyCFunction_CheckExact(bound.as_ptr()) != 0
        };
        if may_be_kept {
            Latest::look(object.py(), |latest| {
                latest.keep_method(object, name, &found, &bound);
                None::<()>
            });
        }
        Some(bound)
    }
}

/// What `object.name` is if this was found in its class.
fn bind<'py>(method: Bound<'py, PyAny>, object: &Bound<'py, PyAny>) -> OrRaised<'py> {
    // SAFETY: all are alive; a new reference or null with an error comes back.
    unsafe {
        let Some(get) = (*method.get_type_ptr()).tp_descr_get else {
            return Some(method);
        };
        let bound = get(method.as_ptr(), object.as_ptr(), object.get_type_ptr().cast());
        Bound::from_owned_ptr_or_opt(object.py(), bound)
    }
}
