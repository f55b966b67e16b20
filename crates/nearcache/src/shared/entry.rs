//! What callers pass to a write, and what they learn of an entry and of a process.

use std::time::Duration;

use super::extension::Extension;
use super::lock::Owner;
use super::record::{NEVER, Stamp};
use super::shard::Entry;
use super::time::from_millis;
use crate::clock::Timestamp;

/// An entry to be inserted: a value, and its kind, expiry time, stale time and cost.
///
/// ```
/// use nearcache::Timestamp;
/// use nearcache::shared::NewEntry;
///
/// let entry = NewEntry::new(b"value").kind(7).expires_at(Timestamp::from_unix_micros(1_000));
/// assert_eq!((entry.value, entry.kind), (&b"value"[..], 7));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct NewEntry<'a> {
    /// The bytes of the value.
    pub value: &'a [u8],
    /// A number that the caller chooses, for example for the type that the bytes encode. It is returned with the value.
    pub kind: u8,
    /// The time at which the entry expires.
    pub expires_at: Timestamp,
    /// Until when the value may be used after it has expired, if at all.
    pub stale_until: Option<Timestamp>,
    /// How long the value took to compute; zero if that is unknown.
    pub cost: Duration,
}

impl<'a> NewEntry<'a> {
    /// Creates an entry of kind 0 that does not expire.
    #[must_use]
    pub const fn new(value: &'a [u8]) -> Self {
        Self {
            value,
            kind: 0,
            expires_at: Timestamp::NEVER,
            stale_until: None,
            cost: Duration::ZERO,
        }
    }

    /// Sets the kind.
    #[must_use]
    pub const fn kind(self, kind: u8) -> Self {
        Self { kind, ..self }
    }

    /// Sets the expiry time.
    ///
    /// The file stores milliseconds, rounded down. An entry that would expire after the year 10889 does not expire.
    #[must_use]
    pub const fn expires_at(self, expires_at: Timestamp) -> Self {
        Self { expires_at, ..self }
    }

    /// Sets until when [`get_stale_into`](super::SharedCache::get_stale_into) returns the value after it has expired.
    ///
    /// Until then the entry stays in the file, unless it is evicted. For all other operations it is absent. The file stores
    /// the time from the expiry on, so a later [`touch`](super::SharedCache::touch) moves this time, too. An entry with a
    /// stale time or a cost takes 24 bytes more.
    #[must_use]
    pub const fn stale_until(self, stale_until: Timestamp) -> Self {
        Self {
            stale_until: Some(stale_until),
            ..self
        }
    }

    /// Sets how long the value took to compute. Hits add it to [`SharedStats::saved`](super::SharedStats::saved).
    ///
    /// The file stores microseconds: up to 4 ms exactly, beyond that to one part in 4,096, and at most 50 days.
    #[must_use]
    pub const fn cost(self, cost: Duration) -> Self {
        Self { cost, ..self }
    }
}

/// Describes an entry that was found, without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntryInfo {
    /// The kind that the entry was inserted with.
    pub kind: u8,
    /// The length of the value in bytes.
    pub len: usize,
    /// The time at which the entry expires.
    pub expires_at: Timestamp,
    /// Until when the value may be used after it has expired; `None` if it may not.
    pub stale_until: Option<Timestamp>,
    /// How long the value took to compute; zero if that is unknown.
    pub cost: Duration,
    /// Identifies this write of the entry, for
    /// [`insert_entry_if_unchanged`](super::SharedCache::insert_entry_if_unchanged).
    pub stamp: Stamp,
}

impl EntryInfo {
    /// Describes an entry with this extension, whose key has this hash.
    #[inline(always)]
    pub(super) fn new(entry: &Entry, extension: Option<Extension>, key: u64) -> Self {
        let record = &entry.record;
        let (stale_until, cost) = match extension {
            Some(extension) => stale_time_and_cost(extension, record.expires_at),
            None => (None, Duration::ZERO),
        };
        Self {
            kind: record.kind,
            len: record.value,
            expires_at: from_millis(record.expires_at),
            stale_until,
            cost,
            stamp: entry.stamp(key),
        }
    }
}

/// Returns the stale time's end and the cost of an entry that expires at `expires_at`, in stored milliseconds.
// By value: a reference to the entry would keep it, in a read, from staying in registers.
fn stale_time_and_cost(extension: Extension, expires_at: u64) -> (Option<Timestamp>, Duration) {
    let has_stale_time = extension.stale_millis() > 0 && expires_at != NEVER;
    let stale_until = has_stale_time.then(|| from_millis(extension.stale_until(expires_at)));
    (stale_until, Duration::from_micros(extension.cost().as_micros()))
}

/// Identifies a process that has a cache open, by its process slot in the file.
///
/// A child of `fork` is another process than its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProcessId(pub(super) Owner);

impl ProcessId {
    /// Returns the id as a number, which is valid as long as the file exists.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        self.0.to_u64()
    }

    /// Creates an id from a number. A number that no process has is the id of a process that is not alive.
    #[must_use]
    pub const fn from_u64(number: u64) -> Self {
        Self(Owner::from_u64(number))
    }
}

/// Identifies a flight: one computation of a value for one key. See [`SharedCache::claim`](super::SharedCache::claim).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlightId {
    /// The process of the leader, which computes.
    pub process: ProcessId,
    /// The number that the leader chose.
    pub number: u64,
}
