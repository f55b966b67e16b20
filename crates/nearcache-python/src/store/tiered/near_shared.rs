//! Near copies in the machine's shared file: the words before the value are the stamp and the deadline.

use std::time::Duration;

use nearcache::{Clock, SystemClock, Timestamp};
use nearcache_remote::near::{BootTime, Stamp, Stripe};
use pyo3::prelude::*;

use super::requests::RemoteEntry;
use crate::store::near_copy::Mark;
use crate::store::shared::SharedStore;
use crate::values::bytes::EncodedBytes;

/// Returns the value of the copy of a key that has not expired and is valid by its mark.
#[inline]
pub(super) fn find(
    py: Python<'_>,
    store: &SharedStore,
    key: &[u8],
    object_capacity: u64,
    now: BootTime,
    is_valid: impl Fn(Mark) -> bool,
) -> PyResult<Option<Py<PyAny>>> {
    store.get_near_copy(py, key, object_capacity, |[stamp, deadline]| {
        let mark = Mark {
            stripe: Stripe::of(key),
            stamp: Stamp::from_word(stamp),
        };
        now < BootTime::from_millis(deadline) && is_valid(mark)
    })
}

/// Stores a copy; returns whether the file has room for it.
///
/// The file removes it by the wall clock. It is not served after `deadline`, however that clock is set.
pub(super) fn insert(
    store: &SharedStore,
    entry: &RemoteEntry<'_, '_>,
    mark: Mark,
    lifetime: Option<Duration>,
    deadline: BootTime,
) -> PyResult<bool> {
    let expires_at = lifetime.map_or(Timestamp::NEVER, |lifetime| SystemClock.expiry(lifetime));
    let header = [mark.stamp.as_word(), deadline.as_millis()];
    let value = EncodedBytes::with_pickle(entry.value, entry.stored)?;
    store.set_near_copy(entry.key, header, &value, expires_at)
}
