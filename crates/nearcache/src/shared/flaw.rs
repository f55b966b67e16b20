//! The check of one entry: whether it agrees with its slot, its key and its checksum.

use std::fmt;
use std::sync::atomic::Ordering;

use super::layout::BUCKET;
use super::shard::{Entry, Shard};
use super::slot::Slot;

/// What is wrong with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// Its slot is not one that its key can have.
    Misplaced,
    /// Its value does not match its checksum.
    Checksum,
    /// Another slot, with this number, holds the same key.
    Duplicate(usize),
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Misplaced => write!(f, "the key belongs in another slot"),
            Self::Checksum => write!(f, "the value does not match its checksum"),
            Self::Duplicate(at) => write!(f, "slot {at} holds the same key"),
        }
    }
}

impl Shard<'_> {
    /// Returns the flaw of an entry with this key, if it has one. Reads the whole value.
    ///
    /// Without the lock, a concurrent change may look like a flaw.
    pub(super) fn flaw(&self, entry: &Entry, key: &[u8]) -> Option<Flaw> {
        let keyed = self.hashing.key(key);
        let buckets = keyed.buckets(self.index.len() / BUCKET);
        if keyed.fingerprint() != entry.slot.fingerprint() || !buckets.contains(&(entry.at / BUCKET)) {
            return Some(Flaw::Misplaced);
        }
        let checksum = self.ring_of(entry.state)?.checksum(&entry.record, keyed.hash);
        let is_right = checksum == entry.record.checksum
            || entry.record.is_placeholder() && !checksum == entry.record.checksum;
        if !is_right {
            return Some(Flaw::Checksum);
        }
        let others = buckets
            .into_iter()
            .flat_map(|bucket| bucket * BUCKET..(bucket + 1) * BUCKET);
        others
            .filter(|at| *at != entry.at)
            .find(|at| self.points_to(*at, keyed.fingerprint(), key))
            .map(Flaw::Duplicate)
    }

    /// Returns whether a slot points to a record with this key.
    fn points_to(&self, at: usize, fingerprint: u64, key: &[u8]) -> bool {
        let slot = Slot(self.index[at].load(Ordering::Acquire));
        if slot.fingerprint() != fingerprint {
            return false;
        }
        let found = slot.state().and_then(|state| {
            let ring = self.ring_of(state)?;
            Some((ring, ring.record(ring.position(slot)?)?))
        });
        found.is_some_and(|(ring, record)| record.slot == at && ring.key_is(&record, key))
    }
}
