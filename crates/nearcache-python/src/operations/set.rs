//! Storing values.

use nearcache::Condition;
use pyo3::prelude::*;

use crate::arguments::{Any, Argument, Version};
use crate::django::default_timeout;
use crate::objects::{interned, list};
use crate::open_cache::Operation;
use crate::store::SetOutcome;
#[cfg(unix)]
use crate::store::Store;

impl<'py> Operation<'_, 'py> {
    pub(crate) fn set(
        &self,
        key: Any<'_, 'py>,
        value: Any<'_, 'py>,
        timeout: Argument<'_, 'py>,
        version: Version<'_, 'py>,
        condition: Condition,
    ) -> PyResult<SetOutcome> {
        self.context.keys().with_key(key, version, |key| {
            self.entries().set(&self.context, key, value, timeout, condition)
        })
    }

    /// Stores the items of a mapping; returns a list of the keys whose values were rejected as too large.
    pub(crate) fn set_many(
        &self,
        data: Any<'_, 'py>,
        timeout: Argument<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = self.context.py();
        if self.context.settings.overrides_set {
            let timeout = timeout
                .given()
                .map_or_else(|| default_timeout(py).cloned(), |given| Ok(given.to_owned()))?;
            let arguments = (self.context.backend, data, timeout, version);
            return self.context.call_django("set_many", arguments);
        }
        #[cfg(unix)]
        if let Store::Tiered(store) = self.store {
            self.set_many_tiered(store, data, timeout, version)?;
            return Ok(list(py)?.into_any());
        }
        let rejected = list(py)?;
        for item in data.call_method0(interned!(py, "items")?)?.try_iter()? {
            let (key, value) = item?.extract::<(Bound<'py, PyAny>, Bound<'py, PyAny>)>()?;
            let outcome = self.set(&key, &value, timeout, version, Condition::Always)?;
            if outcome == SetOutcome::Rejected {
                rejected.append(key)?;
            }
        }
        Ok(rejected.into_any())
    }
}
