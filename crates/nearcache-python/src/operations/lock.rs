//! Locks for users: entries whose value is the holder's token.

use nearcache::Timestamp;
use pyo3::prelude::*;

use crate::arguments::{Any, Version};
use crate::expiry::after;
use crate::open_cache::Operation;
use crate::store::Extension;

impl<'py> Operation<'_, 'py> {
    /// Acquires a lock for `timeout` seconds, or without limit; returns whether it was free.
    ///
    /// Fails with `ValueError` if the cache has no room for it, because it could never be acquired.
    pub(crate) fn acquire_lock(
        &self,
        key: Any<'_, 'py>,
        token: &str,
        timeout: Option<f64>,
        version: Version<'_, 'py>,
    ) -> PyResult<bool> {
        self.context.keys().with_key(key, version, |key| {
            let now = self.context.now()?;
            let expires_at = timeout.map_or(Timestamp::NEVER, |seconds| after(now, seconds));
            self.entries()
                .acquire_lock(&self.context, key, token, expires_at, now)
        })
    }

    /// Releases a lock; returns whether it was held with this token.
    pub(crate) fn release_lock(
        &self,
        key: Any<'_, 'py>,
        token: &str,
        version: Version<'_, 'py>,
    ) -> PyResult<bool> {
        self.context.keys().with_key(key, version, |key| {
            self.entries().release_lock(&self.context, key, token)
        })
    }

    /// Returns whether a lock is held with this token. Counts neither as a use nor in the statistics.
    pub(crate) fn holds_lock(
        &self,
        key: Any<'_, 'py>,
        token: &str,
        version: Version<'_, 'py>,
    ) -> PyResult<bool> {
        self.context.keys().with_key(key, version, |key| {
            self.entries().holds_lock(&self.context, key, token)
        })
    }

    /// Extends a lock by a number of seconds from now or, with `from_end`, from the time it would end.
    ///
    /// Returns whether it was held with this token.
    pub(crate) fn extend_lock(
        &self,
        key: Any<'_, 'py>,
        token: &str,
        seconds: f64,
        from_end: bool,
        version: Version<'_, 'py>,
    ) -> PyResult<bool> {
        self.context.keys().with_key(key, version, |key| {
            let now = self.context.now()?;
            let extension = if from_end {
                Extension::FromEnd(seconds)
            } else {
                Extension::FromNow(seconds)
            };
            self.entries()
                .extend_lock(&self.context, key, token, extension, now)
        })
    }
}
