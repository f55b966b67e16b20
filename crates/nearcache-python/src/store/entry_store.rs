//! What every store can do with entries, wherever it keeps them.

use nearcache::local::Keys as LocalKeys;
use nearcache::{Condition, Timestamp};
use pyo3::prelude::*;

#[cfg(shared)]
use super::flights::MachineFlightId;
use super::flights::{Computed, EarlyRead, Flight, FlightEvent, Joined, Lead};
use super::stats::Stats;
use crate::arguments::{Any, Argument};
use crate::clock::Now;
use crate::context::CallContext;
use crate::expiry::{after, later};
use crate::memory::no_memory;
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
    fn get(&'static self, context: &CallContext<'_, '_>, key: &[u8]) -> PyResult<Option<Py<PyAny>>>;

    fn set<'py>(
        &'static self,
        context: &CallContext<'_, 'py>,
        key: &[u8],
        value: Any<'_, 'py>,
        timeout: Argument<'_, 'py>,
        condition: Condition,
    ) -> PyResult<SetOutcome>;

    /// Adds to a value, atomically, and returns the sum; `None` if there is no value. The expiry does not change.
    fn incr<'py>(
        &'static self,
        context: &CallContext<'_, 'py>,
        key: &[u8],
        delta: Any<'_, 'py>,
    ) -> PyResult<Option<Py<PyAny>>>;

    /// Returns whether there is a live entry.
    fn contains(&'static self, context: &CallContext<'_, '_>, key: &[u8], now: Now) -> PyResult<bool>;

    /// Deletes an entry; returns whether there was a live one.
    fn delete(&'static self, context: &CallContext<'_, '_>, key: &[u8]) -> PyResult<bool>;

    /// Deletes several entries; returns how many there were.
    fn delete_batch(&'static self, context: &CallContext<'_, '_>, keys: &[StoredKey]) -> PyResult<u64> {
        let mut deleted = 0;
        for key in keys {
            deleted += u64::from(self.delete(context, key)?);
        }
        Ok(deleted)
    }

    fn clear(&'static self, context: &CallContext<'_, '_>) -> PyResult<()>;

    /// Returns when an entry expires; `None` if there is no live one.
    fn expires_at(
        &'static self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        now: Now,
    ) -> PyResult<Option<Timestamp>>;

    /// Changes when an entry expires; returns whether there was a live one.
    fn expire_at(
        &'static self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        expires_at: Timestamp,
        now: Now,
    ) -> PyResult<bool>;

    /// Removes an entry's expiry; returns whether there was a live one with an expiry.
    fn persist(&'static self, context: &CallContext<'_, '_>, key: &[u8]) -> PyResult<bool>;

    /// Acquires a lock until a time; returns whether it was free.
    ///
    /// Fails with `ValueError` if the store has no room for the lock, because it could never be acquired.
    fn acquire_lock(
        &'static self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        token: &str,
        expires_at: Timestamp,
        now: Now,
    ) -> PyResult<bool>;

    /// Releases a lock; returns whether it was held with this token.
    fn release_lock(&'static self, context: &CallContext<'_, '_>, key: &[u8], token: &str) -> PyResult<bool>;

    /// Returns whether a lock is held with this token. Counts neither as a use nor in the statistics.
    fn holds_lock(&'static self, context: &CallContext<'_, '_>, key: &[u8], token: &str) -> PyResult<bool>;

    /// Extends a lock; returns whether it was held with this token.
    fn extend_lock(
        &'static self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        token: &str,
        extension: Extension,
        now: Now,
    ) -> PyResult<bool>;

    /// Reads a value, and decides whether the caller is to compute the next one already. `beta` is `XFetch`'s parameter.
    fn get_early(&'static self, context: &CallContext<'_, '_>, key: &[u8], beta: f64) -> PyResult<EarlyRead>;

    /// Joins the flight of a key that the caller has just missed. An old value may be up to `stale` seconds too old.
    fn join(&'static self, context: &CallContext<'_, '_>, key: &[u8], stale: f64) -> PyResult<Joined>;

    /// Starts a flight even if the key has a value. It overtakes the one in progress.
    fn overtake(&'static self, context: &CallContext<'_, '_>, key: &[u8]) -> PyResult<Lead>;

    /// Starts a flight in place of the one that a waiter has waited for, in a file, unless that has ended. A store without a file
    /// has no such waiters.
    #[cfg(shared)]
    fn overtake_held(
        &'static self,
        context: &CallContext<'_, '_>,
        key: &[u8],
        _: MachineFlightId,
    ) -> PyResult<Joined> {
        Ok(Joined::Leader(self.overtake(context, key)?, None))
    }

    /// Stores what a leader has computed, if the flight was not overtaken, and hands it to the waiters. Returns whether it
    /// was stored.
    fn complete(
        &'static self,
        context: &CallContext<'_, '_>,
        flight: &Flight,
        computed: &Computed<'_, '_>,
    ) -> PyResult<bool>;

    /// Counts what `get_or_set` did.
    fn count_flight(&'static self, event: FlightEvent);

    /// Returns an iterator over the keys of a scope that may match a pattern, or over all.
    fn keys(
        &'static self,
        context: &CallContext<'_, '_>,
        now: Now,
        scope: ScanScope,
        pattern: &ScanPattern<'_>,
    ) -> PyResult<StoredKeys>;

    fn stats(&'static self, context: &CallContext<'_, '_>) -> PyResult<Stats>;

    fn reset_stats(&'static self);

    /// Panics for tests: while an entry is locked, if the store has locks that a panic could leave locked.
    fn panic(&'static self, key: &[u8]);
}

/// A stored key.
pub(crate) type StoredKey = Box<[u8]>;

/// Which keys a scan returns.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScanScope {
    /// Those of live entries. Each comes once.
    Live,
    /// Those of all that [`delete`](EntryStore::delete) ends: entries, old values and flights. A key may come more than once.
    All,
}

/// What the keys that a scan looks for are like: a store may leave out others.
pub(crate) struct ScanPattern<'a> {
    /// What the stored keys begin with.
    pub(crate) prefix: &'a [u8],
    /// The glob that the rest matches.
    pub(crate) name: &'a [u8],
}

/// How a lock is extended, by a number of seconds.
#[derive(Clone, Copy)]
pub(crate) enum Extension {
    FromNow(f64),
    FromEnd(f64),
}

impl Extension {
    /// Returns when the lock ends.
    pub(crate) fn new_end(self, old_end: Timestamp, now: Now) -> Timestamp {
        match self {
            Self::FromNow(seconds) => after(now, seconds),
            Self::FromEnd(seconds) => later(old_end, seconds),
        }
    }
}

/// An iterator over stored keys.
pub(crate) enum StoredKeys {
    Local(LocalKeys<'static, Stored>),
    #[cfg(shared)]
    Shared(nearcache::shared::Keys<Now>),
    #[cfg(unix)]
    Remote(Box<dyn Iterator<Item = PyResult<StoredKey>> + Send>),
}

impl Iterator for StoredKeys {
    type Item = PyResult<StoredKey>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Local(keys) => keys.next().map(|key| key.map_err(no_memory)),
            #[cfg(shared)]
            // The vector's capacity is its length, so the conversion does not reallocate.
            Self::Shared(keys) => keys
                .next()
                .map(|key| key.map(Vec::into_boxed_slice).map_err(no_memory)),
            #[cfg(unix)]
            Self::Remote(keys) => keys.next(),
        }
    }
}
