//! Operations on several keys of a store with a remote tier: one request for all.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::incr::key_not_found;
use crate::arguments::{Any, Argument, Version};
use crate::memory::{concat, push};
use crate::objects::{dict, interned};
use crate::open_cache::Operation;
use crate::store::{Step, TieredStore};

impl<'py> Operation<'_, 'py> {
    /// Calls `work` with the stored key for a caller's key and version.
    pub(crate) fn with_key<T>(
        &self,
        key: Any<'_, 'py>,
        version: Version<'_, 'py>,
        work: impl FnOnce(&[u8]) -> PyResult<T>,
    ) -> PyResult<T> {
        self.context.keys().with_key(key, version, work)
    }

    /// Returns the stored keys of several keys.
    pub(crate) fn stored_keys(
        &self,
        keys: Any<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<Vec<Vec<u8>>> {
        let mut stored = Vec::new();
        for key in keys.try_iter()? {
            push(&mut stored, self.stored_key(&key?, version)?)?;
        }
        Ok(stored)
    }

    pub(super) fn stored_key(&self, key: Any<'_, 'py>, version: Version<'_, 'py>) -> PyResult<Vec<u8>> {
        self.with_key(key, version, |key| concat([key]))
    }

    pub(super) fn get_many_tiered(
        &self,
        store: &'static TieredStore,
        keys: Any<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = self.context.py();
        let step = self.plan_get_many(store, keys, version)?;
        Ok(store.run(py, step)?.into_bound(py).into_any())
    }

    /// Returns the plan of `get_many`: a dict without the missing keys.
    pub(crate) fn plan_get_many(
        &self,
        store: &'static TieredStore,
        keys: Any<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<Step<Py<PyDict>>> {
        let (mut names, mut stored) = (Vec::new(), Vec::new());
        for key in keys.try_iter()? {
            let key = key?;
            push(&mut stored, self.stored_key(&key, version)?)?;
            push(&mut names, key.unbind())?;
        }
        let step = store.plan_get_many(&self.context, stored)?;
        step.map(self.context.py(), move |py, values| {
            let found = dict(py)?;
            for (name, value) in names.into_iter().zip(values) {
                if let Some(value) = value {
                    found.set_item(name, value)?;
                }
            }
            Ok(found.unbind())
        })
    }

    /// Returns the plan of `incr`. Fails with `ValueError` if the key has no value.
    pub(crate) fn plan_incr(
        &self,
        store: &'static TieredStore,
        key: Any<'_, 'py>,
        delta: Any<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<Step<Py<PyAny>>> {
        let stored = self.stored_key(key, version)?;
        let step = store.plan_incr(&stored, delta)?;
        step.map(self.context.py(), move |py, sum| {
            sum.ok_or_else(|| key_not_found(py, &stored))
        })
    }

    pub(super) fn set_many_tiered(
        &self,
        store: &'static TieredStore,
        data: Any<'_, 'py>,
        timeout: Argument<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<()> {
        let step = self.plan_set_many(store, data, timeout, version)?;
        store.run(self.context.py(), step)
    }

    pub(crate) fn plan_set_many(
        &self,
        store: &'static TieredStore,
        data: Any<'_, 'py>,
        timeout: Argument<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<Step<()>> {
        let mut entries = Vec::new();
        for item in data
            .call_method0(interned!(self.context.py(), "items")?)?
            .try_iter()?
        {
            let (key, value) = item?.extract::<(Bound<'py, PyAny>, Bound<'py, PyAny>)>()?;
            push(&mut entries, (self.stored_key(&key, version)?, value))?;
        }
        store.plan_set_many(&self.context, entries, timeout)
    }
}
