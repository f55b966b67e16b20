//! Changing when an entry expires.

use nearcache::Timestamp;
use pyo3::prelude::*;

use crate::arguments::{Any, Argument, Version};
use crate::clock::Now;
use crate::django::default_timeout;
use crate::expiry::{Unit, after, duration_seconds, point_in_time};
use crate::open_cache::Operation;

impl<'py> Operation<'_, 'py> {
    /// Gives an entry a new timeout; returns whether there was one.
    pub(crate) fn touch(
        &self,
        key: Any<'_, 'py>,
        timeout: Argument<'_, 'py>,
        version: Version<'_, 'py>,
    ) -> PyResult<bool> {
        self.expire_entry(key, version, || self.context.expires_at(timeout))
    }

    /// Lets an entry expire after a number of `unit` or a `timedelta`; returns whether there was one.
    pub(crate) fn expire(
        &self,
        key: Any<'_, 'py>,
        timeout: Any<'_, 'py>,
        unit: Unit,
        version: Version<'_, 'py>,
    ) -> PyResult<bool> {
        self.expire_entry(key, version, || self.expiry_after(timeout, unit))
    }

    /// Returns when an entry expires after a number of `unit` or a `timedelta`, and the clock this was computed with.
    pub(crate) fn expiry_after(&self, timeout: Any<'_, 'py>, unit: Unit) -> PyResult<(Timestamp, Now)> {
        if timeout.is(default_timeout(self.context.py())?) {
            return self.context.expires_at(Argument::OMITTED);
        }
        let seconds = duration_seconds(timeout, unit)?;
        let now = self.context.now()?;
        Ok((after(now, seconds), now))
    }

    /// Lets an entry expire at a number of `unit` since the Unix epoch or a `datetime`; returns whether there was one.
    pub(crate) fn expire_at(
        &self,
        key: Any<'_, 'py>,
        when: Any<'_, 'py>,
        unit: Unit,
        version: Version<'_, 'py>,
    ) -> PyResult<bool> {
        self.expire_entry(key, version, || {
            Ok((point_in_time(when, unit)?, self.context.now()?))
        })
    }

    /// Removes an entry's expiry; returns whether there was one that would have expired.
    pub(crate) fn persist(&self, key: Any<'_, 'py>, version: Version<'_, 'py>) -> PyResult<bool> {
        self.context
            .keys()
            .with_key(key, version, |key| self.entries().persist(&self.context, key))
    }

    /// Sets the expiry that `expires_at` computes once the key is made.
    fn expire_entry(
        &self,
        key: Any<'_, 'py>,
        version: Version<'_, 'py>,
        expires_at: impl FnOnce() -> PyResult<(Timestamp, Now)>,
    ) -> PyResult<bool> {
        self.context.keys().with_key(key, version, |key| {
            let (expires_at, now) = expires_at()?;
            self.entries().expire_at(&self.context, key, expires_at, now)
        })
    }
}
