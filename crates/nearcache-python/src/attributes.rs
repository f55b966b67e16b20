//! Assignment to a backend's attributes, some of which are its settings.

use std::sync::Arc;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::backend::Backend;
use crate::fallible::interned;
use crate::settings::{Settings, is_watched};

/// Assigns or (null) deletes an attribute as Python does. If it is one of the settings they are read anew; if it then has
/// a value that cannot be, it gets back the old one.
pub(crate) fn set_attribute(
    slf: &Bound<'_, Backend>,
    name: &Bound<'_, PyString>,
    value: *mut ffi::PyObject,
) -> PyResult<()> {
    let Some(open) = slf
        .get()
        .open
        .get()
        .filter(|_| name.to_str().is_ok_and(is_watched))
    else {
        return set_generic(slf, name, value);
    };
    let old = slf
        .getattr(interned!(slf.py(), "__dict__")?)?
        .cast::<PyDict>()?
        .get_item(name)?;
    set_generic(slf, name, value)?;
    match Settings::read(slf.as_any()) {
        Ok(settings) => {
            open.settings.store(Arc::new(settings));
            Ok(())
        }
        Err(error) => {
            set_generic(
                slf,
                name,
                old.as_ref().map_or(std::ptr::null_mut(), Bound::as_ptr),
            )?;
            Err(error)
        }
    }
}

#[allow(unsafe_code)]
fn set_generic(
    slf: &Bound<'_, Backend>,
    name: &Bound<'_, PyString>,
    value: *mut ffi::PyObject,
) -> PyResult<()> {
    // SAFETY: the instance and the name are alive for the call, and so is the value, unless it is null, which is how a
    // deletion is asked for.
    let status = unsafe { ffi::PyObject_GenericSetAttr(slf.as_ptr(), name.as_ptr(), value) };
    if status == 0 {
        Ok(())
    } else {
        Err(PyErr::fetch(slf.py()))
    }
}
