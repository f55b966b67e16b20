//! Reading values.

use pyo3::prelude::*;

use crate::arguments::{Any, Version};
use crate::objects::dict;
use crate::open_cache::Operation;
use crate::store::{EntryStore, Store};

impl<'py> Operation<'_, 'py> {
    /// Reads a value. With `fresh`, a store with a near tier asks the server.
    #[allow(clippy::inline_always)]
    #[inline(always)]
    pub(crate) fn get(
        &self,
        key: Any<'_, 'py>,
        version: Version<'_, 'py>,
        fresh: bool,
    ) -> PyResult<Option<Py<PyAny>>> {
        self.context
            .keys()
            .with_key(key, version, |key| match self.store {
                Store::Local(store) => EntryStore::get(store, &self.context, key),
                #[cfg(shared)]
                Store::Shared(store) => store.get(&self.context, key),
                #[cfg(unix)]
                Store::Tiered(store) => store.read(&self.context, key, fresh),
            })
    }

    /// Reads the values of several keys into a dict, without the missing ones.
    pub(crate) fn get_many(
        &self,
        keys: Any<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if self.context.settings.overrides_get {
            let arguments = (self.context.backend, keys, version);
            return self.context.call_django("get_many", arguments);
        }
        #[cfg(unix)]
        if let Store::Tiered(store) = self.store {
            return self.get_many_tiered(store, keys, version);
        }
        let values = dict(self.context.py())?;
        for key in keys.try_iter()? {
            let key = key?;
            if let Some(value) = self.get(&key, version, false)? {
                values.set_item(key, value)?;
            }
        }
        Ok(values.into_any())
    }
}
