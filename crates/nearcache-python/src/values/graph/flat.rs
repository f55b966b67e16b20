//! Containers whose parts are all shared, copied as a whole.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PySet};

use crate::objects::{byte_array_of, list_copy, set_copy};

/// A private copy of a `dict`, `list` or `set` of shared objects, or the content of a `bytearray` as a `bytes`.
///
/// Readers get a copy of it, and no reference to it is handed out. `gc.get_objects()` finds it all the same, so nothing
/// relies on that for memory safety.
#[derive(Clone)]
pub(crate) struct Flat(Py<PyAny>);

impl Flat {
    /// Keeps a container that is referred to by nothing else.
    pub(super) fn new<T>(container: Bound<'_, T>) -> Self {
        Self(container.into_any().unbind())
    }

    pub(crate) fn clone_ref(&self, py: Python<'_>) -> Self {
        Self(self.0.clone_ref(py))
    }

    /// Returns a new container of the same objects. O(size).
    #[inline]
    pub(crate) fn copy<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let container = self.0.bind(py);
        if let Ok(dict) = container.cast_exact::<PyDict>() {
            dict.copy().map(Bound::into_any)
        } else if let Ok(list) = container.cast_exact::<PyList>() {
            list_copy(list).map(Bound::into_any)
        } else if let Ok(set) = container.cast_exact::<PySet>() {
            set_copy(set).map(Bound::into_any)
        } else {
            byte_array_of(container)
        }
    }
}
