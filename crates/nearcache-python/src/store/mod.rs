//! Where a backend keeps its entries: in this process (`local`), or in a file that all processes share (`shared`).
//!
//! Keys are bytes here, made ready by [`keys`](crate::keys). Nothing is locked while Python code can run.

#[cfg(shared)]
mod kept;
mod local;
pub(crate) mod registry;
#[cfg(shared)]
mod shared;
mod stats;
#[cfg(shared)]
mod upkeep;

use nearcache::local::{Keys, RawCache as LocalStore};
use nearcache::{Condition, OutOfMemory, Timestamp};
use pyo3::prelude::*;

use crate::arguments::{Any, Argument};
use crate::clock::Now;
use crate::context::CallContext;
use crate::values::Stored;
#[cfg(shared)]
pub(crate) use shared::FileSize;
pub(crate) use stats::Stats;

/// What came of storing a value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum SetOutcome {
    Stored,
    /// The condition did not hold.
    Refused,
    /// The value is too large; the old one is gone.
    Rejected,
}

/// What a backend does with its entries. The time of the call is that of its clock; a lock is an entry whose value is its
/// holder's token, a text that nobody else has.
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

    /// Adds to a value, keeping its expiry, and returns the sum; `None` if there is no value. Atomic.
    fn incr<'py>(
        &self,
        context: &CallContext<'_, 'py>,
        key: &[u8],
        delta: Any<'_, 'py>,
    ) -> PyResult<Option<Py<PyAny>>>;

    fn contains(&self, context: &CallContext<'_, '_>, key: &[u8], now: Now) -> bool;

    /// Whether there was a value to remove.
    fn delete(&self, context: &CallContext<'_, '_>, key: &[u8]) -> PyResult<bool>;

    fn clear(&self);

    fn expires_at(&self, context: &CallContext<'_, '_>, key: &[u8], now: Now) -> Option<Timestamp>;

    /// Whether there was an entry, which is now to die at that time.
    fn expire_at(
        &self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        expires: Timestamp,
        now: Now,
    ) -> PyResult<bool>;

    /// Whether there was an entry that was to die, and now is not.
    fn persist(&self, context: &CallContext<'_, '_>, key: &[u8]) -> PyResult<bool>;

    /// Whether a lock was free, and is now held until that time. Fails if there is no room for it ever.
    fn acquire_lock(
        &self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        token: &str,
        expires: Timestamp,
        now: Now,
    ) -> PyResult<bool>;

    /// Whether a lock was held with this token; now it is free.
    fn release_lock(&self, context: &CallContext<'_, '_>, key: &[u8], token: &str) -> PyResult<bool>;

    /// Whether a lock is held with this token. Counts neither as a use nor in the statistics.
    fn holds_lock(&self, context: &CallContext<'_, '_>, key: &[u8], token: &str) -> PyResult<bool>;

    /// Has a lock end at the time that is made of when it was to end; whether it was held with this token.
    fn extend_lock(
        &self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        token: &str,
        end: &dyn Fn(Timestamp) -> Timestamp,
        now: Now,
    ) -> PyResult<bool>;

    fn keys(&'static self, now: Now) -> StoredKeys;

    fn stats(&self, context: &CallContext<'_, '_>) -> PyResult<Stats>;

    fn reset_stats(&self);

    /// Panics at the worst moment, for tests: while an entry is locked, if there is a lock that a panic could leave behind.
    fn panic(&self, key: &[u8]);
}

/// Any of them. It lives as long as the process.
#[derive(Clone, Copy)]
pub(crate) enum Store {
    Local(&'static LocalStore<Stored>),
    #[cfg(shared)]
    Shared(&'static shared::SharedStore),
}

impl Store {
    /// For what waits longer than for a call by pointer.
    pub(crate) fn entries(self) -> &'static dyn EntryStore {
        match self {
            Self::Local(store) => store,
            #[cfg(shared)]
            Self::Shared(store) => store,
        }
    }
}

/// The keys of all live entries.
pub(crate) enum StoredKeys {
    Local(Keys<'static, Stored>),
    #[cfg(shared)]
    Shared(nearcache::shared::Keys<Now>),
}

impl Iterator for StoredKeys {
    type Item = Result<Box<[u8]>, OutOfMemory>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Local(keys) => keys.next(),
            #[cfg(shared)]
            // Its capacity is its length, so that this does not reallocate.
            Self::Shared(keys) => keys.next().map(|key| key.map(Vec::into_boxed_slice)),
        }
    }
}
