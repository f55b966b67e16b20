//! Asking whether there is an entry.

use pyo3::prelude::*;

use crate::arguments::{Any, Version};
use crate::open_cache::Operation;

impl<'py> Operation<'_, 'py> {
    /// Returns whether there is a live entry. Counts neither as a use nor in the statistics.
    pub(crate) fn has_key(&self, key: Any<'_, 'py>, version: Version<'_, 'py>) -> PyResult<bool> {
        self.context.keys().with_key(key, version, |key| {
            let now = self.context.now()?;
            self.entries().contains(&self.context, key, now)
        })
    }
}
