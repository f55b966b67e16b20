//! Assignment to a backend's attributes, some of which are its settings.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use super::Backend;
use crate::arguments::Any;
use crate::objects::{interned, set_own_attribute};
use crate::settings::is_watched;

/// Assigns an attribute as Python does, or deletes it if there is no value.
///
/// If the attribute is one of the settings, they are read again. If they cannot be read, the attribute gets its old value back
/// and the error is returned.
pub(super) fn set_attribute(
    slf: &Bound<'_, Backend>,
    name: &Bound<'_, PyString>,
    value: Option<Any<'_, '_>>,
) -> PyResult<()> {
    let open = slf.get().cache.get();
    let Some(open) = open.filter(|_| name.to_str().is_ok_and(is_watched)) else {
        return set_own_attribute(slf.as_any(), name, value);
    };
    let old = slf
        .getattr(interned!(slf.py(), "__dict__")?)?
        .cast::<PyDict>()?
        .get_item(name)?;
    set_own_attribute(slf.as_any(), name, value)?;
    match Backend::read_settings(slf) {
        Ok(settings) => {
            open.settings.store(Arc::new(settings));
            Ok(())
        }
        Err(error) => {
            set_own_attribute(slf.as_any(), name, old.as_ref())?;
            Err(error)
        }
    }
}
