//! Times as the file stores them: milliseconds since 1970, in 48 bits.
//!
//! The largest number means "never", so a stored time reaches to the year 10889. Expiry times are rounded down, so that a
//! caller who sleeps for an entry's time to live finds the entry gone.
//!
//! An entry that does not expire is never affected by the clock. An entry that does also counts as expired when it was
//! written later than now: the clock was set back, and the entry could live much longer than its caller asked for.
//!
//! An expired entry is *retained* during its stale time, and while a flight for its key is in progress. For nearly all
//! operations it is absent all the same.

use super::extension::Extension;
use super::record::{NEVER, Record};
use crate::clock::{Clock, Timestamp};

/// The clocks of different processors and processes may differ by this much without the clock having been set back.
const MAX_SKEW_MILLIS: u64 = 1000;
/// A coarse clock lags by less than this: see [`Clock::has_passed`].
const MAX_LAG_MILLIS: u64 = 1000;
/// How long the record of an expired or absent entry is retained for a flight. Most are over, or their processes dead,
/// long before.
const MAX_FLIGHT_MILLIS: u64 = 60 * 60 * 1000;

/// Converts a time to stored milliseconds, rounded down. Times before 1970 become 1970.
pub(super) fn to_millis(time: Timestamp) -> u64 {
    u64::try_from(time.as_unix_micros() / 1000)
        .unwrap_or_default()
        .min(NEVER - 1)
}

/// Converts an expiry time to stored milliseconds, rounded down. An entry that would expire after the year 10889 does not
/// expire.
pub(super) fn expiry_to_millis(time: Timestamp) -> u64 {
    if time == Timestamp::NEVER {
        return NEVER;
    }
    let micros = u64::try_from(time.as_unix_micros()).unwrap_or_default();
    (micros / 1000).min(NEVER)
}

/// Converts stored milliseconds to a time.
pub(super) fn from_millis(millis: u64) -> Timestamp {
    if millis == NEVER {
        return Timestamp::NEVER;
    }
    Timestamp::from_unix_micros(i64::try_from(millis.saturating_mul(1000)).unwrap_or(i64::MAX - 1))
}

/// Returns whether an entry has expired. Exact: reads the exact clock for an entry that is about to expire.
#[inline]
pub(super) fn has_expired(record: &Record, clock: &impl Clock) -> bool {
    if record.expires_at == NEVER {
        return false;
    }
    let now = to_millis(clock.now());
    let is_near = record.expires_at <= now.saturating_add(MAX_LAG_MILLIS);
    is_from_the_future(record, now)
        || is_near && (record.expires_at == 0 || clock.has_passed(from_millis(record.expires_at)))
}

/// Returns whether the value of an entry may still be used: it has not expired, or its stale time has not ended. Exact, as
/// [`has_expired`].
#[inline]
pub(super) fn is_usable(record: &Record, extension: Option<Extension>, clock: &impl Clock) -> bool {
    !has_expired(record, clock)
        || extension.is_some_and(|extension| {
            extension.stale_millis() > 0
                && !is_from_the_future(record, to_millis(clock.now()))
                && !clock.has_passed(from_millis(extension.stale_until(record.expires_at)))
        })
}

/// Returns whether an expired entry stays in the file at `now`, which may lag.
pub(super) fn is_retained(record: &Record, extension: Option<Extension>, now: u64) -> bool {
    extension.is_some_and(|extension| {
        let is_stale = extension.stale_millis() > 0
            && !is_from_the_future(record, now)
            && extension.stale_until(record.expires_at) > now;
        // A flight's time of writing is that of its beginning. The clock may have been stepped since, in either direction.
        let is_in_flight =
            extension.flight().is_some() && record.written_at.abs_diff(now) < MAX_FLIGHT_MILLIS;
        is_stale || is_in_flight
    })
}

/// Returns whether an entry has expired at `now`, which may lag.
pub(super) const fn has_expired_at(record: &Record, now: u64) -> bool {
    record.expires_at != NEVER && (record.expires_at <= now || is_from_the_future(record, now))
}

const fn is_from_the_future(record: &Record, now: u64) -> bool {
    record.written_at > now.saturating_add(MAX_SKEW_MILLIS)
}
