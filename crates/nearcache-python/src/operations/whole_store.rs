//! Operations on a whole store: statistics, verification, deleting everything.

#[cfg(shared)]
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use crate::arguments::Any;
use crate::open_cache::Operation;
use crate::store::Stats;
#[cfg(shared)]
use crate::store::Store;

impl Operation<'_, '_> {
    pub(crate) fn clear(&self) -> PyResult<()> {
        self.entries().clear(&self.context)
    }

    pub(crate) fn stats(&self) -> PyResult<Stats> {
        self.entries().stats(&self.context)
    }

    pub(crate) fn reset_stats(&self) {
        self.entries().reset_stats();
    }

    /// Checks the whole file; see `Backend._verify`.
    #[cfg(shared)]
    pub(crate) fn verify(&self) -> PyResult<(u64, u64, u64, u64, u64)> {
        match self.store {
            Store::Local(_) | Store::Tiered(_) => Err(PyTypeError::new_err("there is no file to check")),
            Store::Shared(store) => store.verify(self.context.py()),
        }
    }
}

impl<'py> Operation<'_, 'py> {
    /// Panics while an entry is locked, for tests.
    pub(crate) fn panic(&self, key: Any<'_, 'py>) -> PyResult<()> {
        self.context.keys().with_key(key, None, |key| {
            self.entries().panic(key);
            Ok(())
        })
    }
}
