//! Values that are made once and then kept for the life of the process, such as imported types and interned names.
//!
//! `PyOnceLock` makes other threads wait for the thread that makes the value. A child of `fork` does not have that thread
//! and would wait forever. Here no thread waits: threads that come at the same time each make the value, and the first one
//! stored is kept.

use std::sync::OnceLock;

use pyo3::PyResult;

/// A value that is made at its first use, without making other threads wait.
pub(crate) struct NonblockingOnce<T>(OnceLock<T>);

impl<T> NonblockingOnce<T> {
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// Returns the value if it has been made.
    pub(crate) fn get(&self) -> Option<&T> {
        self.0.get()
    }

    /// Returns the value, and makes it first if necessary. If several threads make it, all get the same one.
    pub(crate) fn get_or_make(&self, make: impl FnOnce() -> PyResult<T>) -> PyResult<&T> {
        if let Some(made) = self.0.get() {
            return Ok(made);
        }
        let value = make()?;
        Ok(self.0.get_or_init(|| value))
    }
}
