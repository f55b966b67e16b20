//! What goes into a cache, what is found there, and who uses it.

use super::lock::Owner;
use super::record::Stamp;
use super::shard::Entry;
use super::writer::timestamp;
use crate::clock::Timestamp;

/// A value to be stored.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// The value.
    pub bytes: &'a [u8],
    /// What kind of value it is: the caller's to choose.
    pub tag: u8,
    /// When it dies.
    pub expires: Timestamp,
}

impl<'a> Item<'a> {
    /// A value that does not expire, with the tag 0.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            tag: 0,
            expires: Timestamp::NEVER,
        }
    }

    /// With this tag.
    #[must_use]
    pub const fn tagged(self, tag: u8) -> Self {
        Self { tag, ..self }
    }

    /// Returns the value with this expiry. The file keeps milliseconds, rounded down. What would expire after the year 10889
    /// does not expire.
    #[must_use]
    pub const fn until(self, expires: Timestamp) -> Self {
        Self { expires, ..self }
    }
}

/// What is told of an entry that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// As it was stored with.
    pub tag: u8,
    /// Bytes of the value.
    pub len: usize,
    /// When it dies.
    pub expires: Timestamp,
    /// Which writing of it was found: for [`set_if_unchanged`](super::SharedCache::set_if_unchanged).
    pub stamp: Stamp,
}

impl Found {
    /// Describes an entry of the key with this hash.
    pub(super) fn new(entry: &Entry, key: u64) -> Self {
        Self {
            tag: entry.record.tag,
            len: entry.record.value,
            expires: timestamp(entry.record.expires),
            stamp: entry.stamp(key),
        }
    }
}

/// One of the processes that have a cache open, by its place in the file. A child of `fork` is another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process(pub(super) Owner);

impl Process {
    /// As a number, which names it as long as the file is there.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        self.0.to_u64()
    }

    /// The process with this number; one that is none's does not live.
    #[must_use]
    pub const fn from_u64(number: u64) -> Self {
        Self(Owner::from_u64(number))
    }
}
