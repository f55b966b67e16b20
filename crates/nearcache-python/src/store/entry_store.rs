//! What every store can do with entries, wherever it keeps them.

use nearcache::local::Keys as LocalKeys;
use nearcache::{Condition, OutOfMemory, Timestamp};
use pyo3::prelude::*;

use super::stats::Stats;
use crate::arguments::{Any, Argument};
use crate::clock::Now;
use crate::context::CallContext;
use crate::values::Stored;

/// The result of storing a value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum SetOutcome {
    Stored,
    /// The condition did not hold.
    ConditionFailed,
    /// The value is too large. The old value was deleted.
    Rejected,
}

/// A store of entries: `key` is a stored key, `now` the clock of the operation.
///
/// A lock is an entry whose value is its holder's token, a text that no other holder has.
pub(crate) trait EntryStore {
    fn get(&self, context: &CallContext<'_, '_>, key: &[u8]) -> PyResult<Option<Py<PyAny>>>;

    fn set<'py>(
        &self,
        context: &CallContext<'_, 'py>,
        key: &[u8],
        value: Any<'_, 'py>,
        timeout: Argument<'_, 'py>,
        condition: Condition,
    ) -> PyResult<SetOutcome>;

    /// Adds to a value, atomically, and returns the sum; `None` if there is no value. The expiry does not change.
    fn incr<'py>(
        &self,
        context: &CallContext<'_, 'py>,
        key: &[u8],
        delta: Any<'_, 'py>,
    ) -> PyResult<Option<Py<PyAny>>>;

    /// Returns whether there is a live entry.
    fn contains(&self, context: &CallContext<'_, '_>, key: &[u8], now: Now) -> bool;

    /// Deletes an entry; returns whether there was a live one.
    fn delete(&self, context: &CallContext<'_, '_>, key: &[u8]) -> PyResult<bool>;

    fn clear(&self);

    /// Returns when an entry expires; `None` if there is no live one.
    fn expires_at(&self, context: &CallContext<'_, '_>, key: &[u8], now: Now) -> Option<Timestamp>;

    /// Changes when an entry expires; returns whether there was a live one.
    fn expire_at(
        &self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        expires_at: Timestamp,
        now: Now,
    ) -> PyResult<bool>;

    /// Removes an entry's expiry; returns whether there was a live one with an expiry.
    fn persist(&self, context: &CallContext<'_, '_>, key: &[u8]) -> PyResult<bool>;

    /// Acquires a lock until a time; returns whether it was free.
    ///
    /// Fails with `ValueError` if the store has no room for the lock, because it could never be acquired.
    fn acquire_lock(
        &self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        token: &str,
        expires_at: Timestamp,
        now: Now,
    ) -> PyResult<bool>;

    /// Releases a lock; returns whether it was held with this token.
    fn release_lock(&self, context: &CallContext<'_, '_>, key: &[u8], token: &str) -> PyResult<bool>;

    /// Returns whether a lock is held with this token. Counts neither as a use nor in the statistics.
    fn holds_lock(&self, context: &CallContext<'_, '_>, key: &[u8], token: &str) -> PyResult<bool>;

    /// Changes when a lock ends to what `new_end` returns for the old end; returns whether it was held with this token.
    fn extend_lock(
        &self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        token: &str,
        new_end: &dyn Fn(Timestamp) -> Timestamp,
        now: Now,
    ) -> PyResult<bool>;

    fn keys(&'static self, now: Now) -> StoredKeys;

    fn stats(&self, context: &CallContext<'_, '_>) -> PyResult<Stats>;

    fn reset_stats(&self);

    /// Panics for tests: while an entry is locked, if the store has locks that a panic could leave locked.
    fn panic(&self, key: &[u8]);
}

/// An iterator over the keys of all live entries.
pub(crate) enum StoredKeys {
    Local(LocalKeys<'static, Stored>),
    #[cfg(shared)]
    Shared(nearcache::shared::Keys<Now>),
}

impl Iterator for StoredKeys {
    type Item = Result<Box<[u8]>, OutOfMemory>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Local(keys) => keys.next(),
            #[cfg(shared)]
            // The vector's capacity is its length, so the conversion does not reallocate.
            Self::Shared(keys) => keys.next().map(|key| key.map(Vec::into_boxed_slice)),
        }
    }
}
