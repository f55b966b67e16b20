//! The container types that trees are made of: exact `dict`, `list`, `set`, `tuple` and `frozenset`.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFrozenSet};

use crate::objects::{DictPosition, next_item};

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
pub(super) fn next_container<'py>(
    dict: &Bound<'py, PyDict>,
    position: &mut DictPosition,
) -> Option<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
    next_item(dict, position, is_container_type)
}
