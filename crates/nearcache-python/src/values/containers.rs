//! The container types that trees are made of: exact `dict`, `list`, `set`, `tuple` and `frozenset`.
#![allow(unsafe_code)]

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::critical_section::with_critical_section;
use pyo3::types::{PyDict, PyFrozenSet};

/// Returns whether an object is of a type that a tree is made of.
pub(super) fn is_collection(value: &Bound<'_, PyAny>) -> bool {
    is_container(value) || value.is_exact_instance_of::<PyFrozenSet>()
}

/// Returns whether a part of a tree may have to be copied. Compares its exact type with four addresses.
pub(super) fn is_container(value: &Bound<'_, PyAny>) -> bool {
    is_container_type(value.get_type_ptr())
}

fn is_container_type(class: *mut ffi::PyTypeObject) -> bool {
    let containers = [
        &raw mut ffi::PyDict_Type,
        &raw mut ffi::PyList_Type,
        &raw mut ffi::PySet_Type,
        &raw mut ffi::PyTuple_Type,
    ];
    containers.contains(&class)
}

/// Returns the next entry of a dict whose value is a container, and advances `position`, which starts at 0.
///
/// `PyO3`'s iterator takes two references for each entry. Nearly all entries are skipped here, with none.
pub(super) fn next_container<'py>(
    dict: &Bound<'py, PyDict>,
    position: &mut ffi::Py_ssize_t,
) -> Option<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    let (mut key, mut value) = (std::ptr::null_mut(), std::ptr::null_mut());
    // The copies that a cache stores are found by `gc.get_objects()`, so another thread may be changing this dict. The critical section
    // keeps others out for this step without the GIL; with the GIL it is free, and the GIL does.
    with_critical_section(dict, || {
        // SAFETY: `dict` is a dict and alive. `PyDict_Next` checks the position against the dict's current size at each step, so a
        // dict that was changed between two steps is no danger: entries are skipped or repeated. The borrowed key and value are alive
        // until the dict changes, which it cannot before they have references of their own: nothing here runs other code.
        unsafe {
            while ffi::PyDict_Next(dict.as_ptr(), position, &raw mut key, &raw mut value) != 0 {
                if is_container_type(ffi::Py_TYPE(value)) {
                    let own = |object| Bound::from_borrowed_ptr(dict.py(), object);
                    return Some((own(key), own(value)));
                }
            }
        }
        None
    })
}
