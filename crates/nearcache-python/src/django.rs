//! The objects of Django that this module uses, imported at their first use.

use pyo3::prelude::*;

use crate::nonblocking_once::NonblockingOnce;
use crate::objects::text;

/// Defines a function that imports an object once and returns it.
macro_rules! imported {
    ($(#[$doc:meta])* $function:ident, $module:literal, $name:literal) => {
        $(#[$doc])*
        pub(crate) fn $function(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
            static OBJECT: NonblockingOnce<Py<PyAny>> = NonblockingOnce::new();
            let import = || {
                let module = py.import(text(py, $module)?)?;
                module.getattr(text(py, $name)?).map(Bound::unbind)
            };
            OBJECT.get_or_make(import).map(|object| object.bind(py))
        }
    };
}

imported! {
    /// Returns Django's `BaseCache`.
    base_cache, "django.core.cache.backends.base", "BaseCache"
}
imported! {
    /// Returns Django's default for `KEY_FUNCTION`.
    default_key_func, "django.core.cache.backends.base", "default_key_func"
}
imported! {
    /// Returns Django's marker for "the cache's default timeout".
    default_timeout, "django.core.cache.backends.base", "DEFAULT_TIMEOUT"
}
imported! {
    improperly_configured_class, "django.core.exceptions", "ImproperlyConfigured"
}

/// Returns an `ImproperlyConfigured` with a message.
pub(crate) fn improperly_configured(py: Python<'_>, message: &str) -> PyErr {
    let raised = improperly_configured_class(py).and_then(|class| class.call1((text(py, message)?,)));
    match raised {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}
