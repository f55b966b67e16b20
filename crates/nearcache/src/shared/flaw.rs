//! Whether an entry is what its slot, its key and its checksum say.

use std::fmt;
use std::mem::MaybeUninit;
use std::sync::atomic::Ordering;

use super::index::Slot;
use super::layout::BUCKET;
use super::shard::{Entry, Shard};

/// What is wrong with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// Its key belongs into other slots.
    Misplaced,
    /// Its value does not fit the checksum.
    Checksum,
    /// The key is in another slot too.
    Duplicate(usize),
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Misplaced => write!(f, "its key belongs into another slot"),
            Self::Checksum => write!(f, "its value does not fit the checksum"),
            Self::Duplicate(at) => write!(f, "slot {at} holds the same key"),
        }
    }
}

impl Shard<'_> {
    /// Copies an entry's key into room of exactly its length.
    pub(super) fn copy_key<'a>(&self, entry: &Entry, room: &'a mut [MaybeUninit<u8>]) -> &'a [u8] {
        match self.ring(entry.kind) {
            Some(ring) => ring.copy_key(&entry.record, room),
            None => room.fill(MaybeUninit::new(0)),
        }
        // SAFETY: all of the room has been written.
        #[allow(unsafe_code)]
        unsafe {
            &*(std::ptr::from_ref::<[MaybeUninit<u8>]>(room) as *const [u8])
        }
    }

    /// The flaw of an entry with this key, if it has one. Reads the whole value.
    ///
    /// Without the lock, a change meanwhile may look like a flaw.
    pub(super) fn flaw(&self, entry: &Entry, key: &[u8]) -> Option<Flaw> {
        let keyed = self.hashing.key(key);
        let buckets = keyed.buckets(self.index.len() / BUCKET);
        if keyed.fingerprint() != entry.slot.fingerprint() || !buckets.contains(&(entry.at / BUCKET)) {
            return Some(Flaw::Misplaced);
        }
        let checksum = self.ring(entry.kind)?.checksum(&entry.record, keyed.hash);
        if checksum != entry.record.checksum {
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

    /// Whether a slot points to a record with this key.
    fn points_to(&self, at: usize, fingerprint: u64, key: &[u8]) -> bool {
        let slot = Slot(self.index[at].load(Ordering::Acquire));
        if slot.fingerprint() != fingerprint {
            return false;
        }
        let found = slot.kind().and_then(|kind| {
            let ring = self.ring(kind)?;
            Some((ring, ring.record(ring.position(slot)?)?))
        });
        found.is_some_and(|(ring, record)| record.slot == at && ring.key_is(&record, key))
    }
}
