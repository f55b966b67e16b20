//! Incrementing an integer.

use std::sync::atomic::Ordering;

use super::cache::SharedCache;
use super::counters::Counter;
use super::error::SharedError;
use super::hashing::Keyed;
use super::record::Record;
use super::writer::Writer;
use crate::clock::Clock;

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
    /// The integer must have been stored with this `kind`, as the 8 bytes of [`i64::to_ne_bytes`]. Its expiry time stays.
    /// Takes the lock of one shard.
    ///
    /// # Errors
    ///
    /// [`SharedError`] if the write was not attempted. [`Incremented`] describes the other results.
    pub fn incr(&self, key: &[u8], delta: i64, kind: u8) -> Result<Incremented, SharedError> {
        let key = self.checked_key(key)?;
        Ok(self.lock(&key)?.incr(&key, delta, kind))
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
        let checksum = |bytes: [u8; size_of::<i64>()]| self.shard.hashing.checksum(key.hash, &bytes, kind);
        if checksum(old) != entry.record.checksum {
            self.count(Counter::Damages, 1);
            self.clear_slot(entry.at);
            return Incremented::Missing;
        }
        let Some(sum) = i64::from_ne_bytes(old).checked_add(delta) else {
            return Incremented::Overflow;
        };
        let new = sum.to_ne_bytes();
        let record = Record {
            checksum: checksum(new),
            ..entry.record
        };
        ring.overwrite(&record, None, &new);
        // A counter that is only incremented is in use as much as one that is read.
        self.shard.count_hit(&entry);
        self.count(Counter::Insertions, 1);
        Incremented::Value(sum)
    }
}
