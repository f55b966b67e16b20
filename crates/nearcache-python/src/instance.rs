//! Inspection of a backend instance: its attributes, and the methods that a subclass or an assignment has replaced.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::arguments::Any;
use crate::errors::error_about;
use crate::numbers::whole_number;
use crate::objects::{interned, text};

/// A backend instance whose settings are read.
pub(crate) struct Instance<'a, 'py> {
    backend: Any<'a, 'py>,
    class: Bound<'py, PyAny>,
}

impl<'a, 'py> Instance<'a, 'py> {
    pub(crate) fn new(backend: Any<'a, 'py>) -> Self {
        Self {
            backend,
            class: backend.get_type().into_any(),
        }
    }

    pub(crate) fn py(&self) -> Python<'py> {
        self.backend.py()
    }

    /// Returns whether a method differs from that of `base`: overridden in a subclass, or assigned to the instance.
    pub(crate) fn overrides(&self, method: &str, base: &Bound<'py, PyAny>) -> PyResult<bool> {
        let py = self.py();
        let method = text(py, method)?;
        let same = self.class.getattr(&method)?.is(&base.getattr(&method)?);
        let own = self.backend.getattr(interned!(py, "__dict__")?)?;
        let assigned = own.cast::<PyDict>()?.contains(method)?;
        Ok(!same || assigned)
    }

    /// Returns whether the class has an attribute of this name, which may be a property that changes at any time.
    pub(crate) fn has_class_attribute(&self, name: &str) -> PyResult<bool> {
        self.class.hasattr(text(self.py(), name)?)
    }

    /// Returns an attribute. Fails if there is none.
    pub(crate) fn attribute(&self, name: &str) -> PyResult<Bound<'py, PyAny>> {
        self.backend.getattr(text(self.py(), name)?)
    }

    /// Returns an attribute; `None` if there is none.
    pub(crate) fn optional_attribute(&self, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.backend.getattr_opt(text(self.py(), name)?)
    }

    /// Reads a limit: a whole number, or None for no limit. Fails with `TypeError` for any other value.
    pub(crate) fn limit(&self, name: &Bound<'py, PyString>) -> PyResult<Option<i64>> {
        let value = self.backend.getattr(name)?;
        if value.is_none() {
            return Ok(None);
        }
        let number = whole_number(&value).ok_or_else(|| {
            let name = name.to_string_lossy();
            error_about::<PyTypeError>(format_args!("{name} must be a whole number or None, not"), &value)
        })?;
        Ok(Some(number))
    }
}
