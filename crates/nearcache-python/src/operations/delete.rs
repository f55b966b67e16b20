//! Deleting entries.

use pyo3::prelude::*;

use crate::arguments::{Any, Version};
use crate::open_cache::Operation;
#[cfg(unix)]
use crate::store::Store;

impl<'py> Operation<'_, 'py> {
    /// Deletes an entry; returns whether there was one.
    pub(crate) fn delete(&self, key: Any<'_, 'py>, version: Version<'_, 'py>) -> PyResult<bool> {
        self.context
            .keys()
            .with_key(key, version, |key| self.entries().delete(&self.context, key))
    }

    pub(crate) fn delete_many(&self, keys: Any<'_, 'py>, version: Version<'_, 'py>) -> PyResult<()> {
        if self.context.settings.overrides_delete {
            let arguments = (self.context.backend, keys, version);
            return self.context.call_django("delete_many", arguments).map(drop);
        }
        #[cfg(unix)]
        if let Store::Tiered(store) = self.store {
            let step = store.plan_delete_many(self.context.py(), self.stored_keys(keys, version)?)?;
            return store.run(self.context.py(), step).map(drop);
        }
        for key in keys.try_iter()? {
            self.delete(&key?, version)?;
        }
        Ok(())
    }
}
