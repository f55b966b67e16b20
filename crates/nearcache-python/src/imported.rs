//! What has to be imported, and is kept.
//!
//! Not in a `PyOnceLock`: that makes others wait for the thread that imports, and a child of `fork` has no such thread, so it
//! would wait for good. Here whoever comes first stores what it got, and nobody waits.

use std::sync::OnceLock;

use pyo3::prelude::*;

use crate::fallible::text;

/// Something made once from imported modules.
pub(crate) struct Imported<T>(OnceLock<T>);

impl<T> Imported<T> {
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// What was made, if it was.
    pub(crate) fn get(&self) -> Option<&T> {
        self.0.get()
    }

    /// What was made before, or is now. Two threads may both make it; one is kept.
    pub(crate) fn get_or_make(&self, make: impl FnOnce() -> PyResult<T>) -> PyResult<&T> {
        if let Some(made) = self.0.get() {
            return Ok(made);
        }
        let value = make()?;
        Ok(self.0.get_or_init(|| value))
    }
}

impl Imported<Py<PyAny>> {
    /// An attribute of a module.
    pub(crate) fn attribute<'py>(
        &'static self,
        py: Python<'py>,
        module: &str,
        name: &str,
    ) -> PyResult<&'py Bound<'py, PyAny>> {
        let import = || {
            let module = py.import(text(py, module)?)?;
            module.getattr(text(py, name)?).map(Bound::unbind)
        };
        self.get_or_make(import).map(|object| object.bind(py))
    }
}
