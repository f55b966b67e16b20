//! What callers pass to a write, and what they learn of an entry and of a process.

use super::lock::Owner;
use super::record::Stamp;
use super::shard::Entry;
use super::writer::timestamp;
use crate::clock::Timestamp;

/// A value to be stored, with its kind and its expiry time.
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
}

impl<'a> NewEntry<'a> {
    /// Creates an entry of kind 0 that does not expire.
    #[must_use]
    pub const fn new(value: &'a [u8]) -> Self {
        Self {
            value,
            kind: 0,
            expires_at: Timestamp::NEVER,
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
}

/// Describes an entry that was found, without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntryInfo {
    /// The kind that the entry was stored with.
    pub kind: u8,
    /// The length of the value in bytes.
    pub len: usize,
    /// The time at which the entry expires.
    pub expires_at: Timestamp,
    /// Identifies this write of the entry, for [`set_if_unchanged`](super::SharedCache::set_if_unchanged).
    pub stamp: Stamp,
}

impl EntryInfo {
    /// Describes an entry whose key has this hash.
    pub(super) fn new(entry: &Entry, key: u64) -> Self {
        Self {
            kind: entry.record.kind,
            len: entry.record.value,
            expires_at: timestamp(entry.record.expires_at),
            stamp: entry.stamp(key),
        }
    }
}

/// Identifies a process that has a cache open, by its process slot in the file.
///
/// A child of `fork` is another process than its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
