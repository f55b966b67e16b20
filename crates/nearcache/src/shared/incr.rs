//! Incrementing an integer.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::cache::SharedCache;
use super::counters::Counter;
use super::entry::NewEntry;
use super::error::SharedError;
use super::extension::Extension;
use super::hashing::Keyed;
use super::record::Record;
use super::writer::{Requirement, Writer};
use crate::clock::Clock;
use crate::condition::Condition;

/// The result of [`incr`](SharedCache::incr).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incremented {
    /// The integer has been incremented, and this is its new value.
    Value(i64),
    /// There is no live entry under the key.
    Missing,
    /// The entry is not an 8-byte integer of the given kind. It is unchanged.
    NotAnInteger,
    /// The result does not fit into 64 bits. The entry is unchanged.
    Overflow,
}

impl<C: Clock> SharedCache<C> {
    /// Adds `delta` to an integer, atomically and in place.
    ///
    /// The integer must have been inserted with this `kind`, as the 8 bytes of [`i64::to_ne_bytes`]. Its expiry time stays; its
    /// stale time and cost do not. Takes the lock of one shard.
    ///
    /// # Errors
    ///
    /// [`SharedError`] if the write was not attempted. [`Incremented`] describes the other results.
    pub fn incr(&self, key: &[u8], delta: i64, kind: u8) -> Result<Incremented, SharedError> {
        let key = self.checked_key(key)?;
        Ok(self.lock(&key)?.incr(&key, delta, kind))
    }

    /// Adds `delta` to an integer as [`incr`](Self::incr) does, or inserts `delta` if there is no live entry, atomically.
    ///
    /// Only a new integer gets `ttl`: it expires after that time, or never if that is `None`. So the counter of a rate limiter ends a fixed
    /// time after the first event that it counts:
    ///
    /// ```
    /// use nearcache::shared::{Incremented, SharedCache};
    /// use std::time::Duration;
    ///
    /// # let directory = std::env::temp_dir().join(format!("nearcache-incr-{}", std::process::id()));
    /// # std::fs::create_dir_all(&directory)?;
    /// let cache = SharedCache::open(directory.join("limits"), 1 << 20)?;
    /// let minute = Some(Duration::from_secs(60));
    /// assert_eq!(cache.incr_or_init(b"client 7", 1, 0, minute)?, Incremented::Value(1));
    /// assert_eq!(cache.incr_or_init(b"client 7", 1, 0, minute)?, Incremented::Value(2));
    /// # std::fs::remove_dir_all(&directory)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Takes the lock of one shard. Never returns [`Incremented::Missing`].
    ///
    /// # Errors
    ///
    /// As [`insert`](Self::insert). [`Incremented`] describes the other results.
    pub fn incr_or_init(
        &self,
        key: &[u8],
        delta: i64,
        kind: u8,
        ttl: Option<Duration>,
    ) -> Result<Incremented, SharedError> {
        let key = self.checked_key(key)?;
        let bytes = delta.to_ne_bytes();
        let new = NewEntry::new(&bytes).kind(kind).expires_at(self.expiry(ttl));
        let payload = self.payload(&key, new);
        let mut writer = self.lock(&key)?;
        match writer.incr(&key, delta, kind) {
            Incremented::Missing => {
                writer.insert(&key, &payload, Requirement::Condition(Condition::IfAbsent))?;
                Ok(Incremented::Value(delta))
            }
            incremented => Ok(incremented),
        }
    }
}

impl<C: Clock> Writer<'_, C> {
    /// Adds to the integer under a key.
    pub(super) fn incr(&self, key: &Keyed<'_>, delta: i64, kind: u8) -> Incremented {
        let Some(entry) = self.find_live(key) else {
            return Incremented::Missing;
        };
        let Some(ring) = self.shard.ring_of(entry.state) else {
            return Incremented::Missing;
        };
        if entry.record.kind != kind || entry.record.value != size_of::<i64>() {
            return Incremented::NotAnInteger;
        }
        // A value starts with a word, so these 8 bytes are one.
        let Some(word) = ring.value(&entry.record).words().next() else {
            return Incremented::NotAnInteger;
        };
        let old = word.load(Ordering::Relaxed).to_ne_bytes();
        let hashing = self.shard.hashing;
        let checksum = |bytes: [u8; size_of::<i64>()], extension: Option<Extension>| {
            hashing.checksum(key.hash, &bytes, kind) ^ hashing.extension_checksum(key.hash, extension)
        };
        let extension = ring.extension(&entry.record);
        if checksum(old, extension) != entry.record.checksum {
            self.count(Counter::Damages, 1);
            self.clear_slot(entry.at);
            return Incremented::Missing;
        }
        let Some(sum) = i64::from_ne_bytes(old).checked_add(delta) else {
            return Incremented::Overflow;
        };
        let new = sum.to_ne_bytes();
        // A write ends the flight for its key. The sum was not computed at the old value's cost, and has no stale time.
        let extension = extension.map(|_| Extension::NONE);
        let record = Record {
            checksum: checksum(new, extension),
            ..entry.record
        };
        ring.overwrite(&record, None, &new, extension);
        // A counter that is only incremented is in use as much as one that is read.
        self.shard.count_hit(&entry);
        self.count(Counter::Insertions, 1);
        Incremented::Value(sum)
    }
}
