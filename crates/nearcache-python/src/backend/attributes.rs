//! Assignment to a backend's attributes, some of which are its settings.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::arguments::Any;
use crate::objects::{interned, set_own_attribute};
use crate::open_cache::OpenCache;
use crate::settings::{Settings, is_watched};

/// Assigns an attribute as Python does, or deletes it if there is no value.
///
/// If the attribute is one of the settings, they are read again. If they cannot be read, the attribute gets its old value
/// back and the error is returned.
pub(super) fn set_attribute(
    backend: Any<'_, '_>,
    cache: Option<&OpenCache>,
    read_settings: impl FnOnce() -> PyResult<Settings>,
    name: &Bound<'_, PyString>,
    value: Option<Any<'_, '_>>,
) -> PyResult<()> {
    let Some(cache) = cache.filter(|_| name.to_str().is_ok_and(is_watched)) else {
        return set_own_attribute(backend, name, value);
    };
    let old = backend
        .getattr(interned!(backend.py(), "__dict__")?)?
        .cast::<PyDict>()?
        .get_item(name)?;
    set_own_attribute(backend, name, value)?;
    match read_settings() {
        Ok(settings) => {
            cache.settings.store(Arc::new(settings));
            Ok(())
        }
        Err(error) => {
            set_own_attribute(backend, name, old.as_ref())?;
            Err(error)
        }
    }
}
