//! A copy of a remote entry in the near tier of this process.

use nearcache::Timestamp;
use nearcache_remote::near::{BootTime, Stamp, Stripe};

use crate::values::Stored;

/// A copy of a remote entry in this process. When it expires is known to the engine, in [`engine_time`].
pub(crate) struct NearCopy {
    pub(super) mark: Mark,
    pub(super) stored: Stored,
}

/// By what it is known that a copy is valid.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    pub(super) stripe: Stripe,
    pub(super) stamp: Stamp,
}

/// Returns a time for the engine, which compares the times of near copies only with each other.
#[inline]
pub(crate) fn engine_time(time: BootTime) -> Timestamp {
    let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_unix_micros(millis.saturating_mul(1000))
}
