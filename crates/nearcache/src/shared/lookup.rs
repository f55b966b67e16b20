//! Lookup of a key without a lock.
//!
//! A lookup loads the slots of the key's two buckets, reads the header and the key of each record whose slot has the key's
//! fingerprint, and *validates* what it read: the tail has not passed the record, and the record's first word is unchanged
//! ([`Ring::is_unchanged`](super::ring::Ring::is_unchanged)). Only validated words are believed. If a writer interfered,
//! the lookup starts again; if that happens too often, the caller takes the lock.
//!
//! A slot that points to no valid record is treated as empty, by readers and writers alike. So an entry may disappear
//! without anybody changing its slot, for example when the tail passes its record.

use std::hint;
use std::mem::MaybeUninit;
use std::sync::atomic::Ordering;

use super::extension::Extension;
use super::hashing::Keyed;
use super::layout::{BUCKET, MOVING};
use super::mapped_words::fence;
use super::record::{Record, is_torn};
use super::shard::{Entry, Shard};
use super::slot::Slot;
use crate::error::OutOfMemory;

/// How often a lookup starts before it gives up.
pub(super) const STARTS: u32 = if cfg!(nearcache_loom) { 1 } else { 64 };

/// The result of a lookup.
#[derive(Debug)]
pub(super) enum Lookup {
    Found(Entry),
    Missing,
    /// A writer interfered, so the key may or may not have an entry.
    Interrupted,
    /// The value does not match its checksum.
    Damaged,
}

/// A writer interfered with a read of an entry that was found.
#[derive(Debug)]
pub(super) struct Interrupted;

/// The result of comparing one slot with a key.
enum SlotMatch {
    Match(Entry),
    Mismatch,
    Interrupted,
}

impl Shard<'_> {
    /// Finds the entry of a key. Its header and key were valid at one moment; its value has not been read.
    pub(super) fn find(&self, key: &Keyed<'_>) -> Lookup {
        for _ in 0..STARTS {
            match self.try_find(key) {
                Lookup::Interrupted => hint::spin_loop(),
                result => return result,
            }
        }
        Lookup::Interrupted
    }

    /// As [`find`](Self::find), and reads the extension of the entry, if it has one.
    pub(super) fn find_extended(&self, key: &Keyed<'_>) -> (Lookup, Option<Extension>) {
        for _ in 0..STARTS {
            let found = self.find(key);
            let Lookup::Found(entry) = &found else {
                return (found, None);
            };
            if let Ok(extension) = self.valid_extension(entry) {
                return (found, extension);
            }
        }
        (Lookup::Interrupted, None)
    }

    /// Tries once to find the entry of a key.
    #[inline(always)]
    pub(super) fn try_find(&self, key: &Keyed<'_>) -> Lookup {
        if self.is_outdated() {
            return Lookup::Missing;
        }
        let fingerprint = key.fingerprint();
        let (buckets, _) = self.index.as_chunks::<BUCKET>();
        for number in key.buckets(buckets.len()) {
            // Compares all slots without a branch for each of them.
            let candidates = buckets[number].iter().zip(0..).fold(0, |found, (word, at)| {
                let slot = Slot(word.load(Ordering::Relaxed));
                found | (u32::from(slot.fingerprint() == fingerprint) << at)
            });
            for at in set_bits(candidates) {
                let slot = Slot(buckets[number][at].load(Ordering::Acquire));
                if slot.fingerprint() != fingerprint {
                    continue;
                }
                match self.match_slot(key, number * BUCKET + at, slot) {
                    SlotMatch::Match(entry) => return Lookup::Found(entry),
                    SlotMatch::Mismatch => {}
                    SlotMatch::Interrupted => return Lookup::Interrupted,
                }
            }
        }
        Lookup::Missing
    }

    /// Compares the record that a slot points to with a key.
    #[inline(always)]
    fn match_slot(&self, key: &Keyed<'_>, at: usize, slot: Slot) -> SlotMatch {
        let Some((state, ring)) = slot.state().and_then(|state| Some((state, self.ring_of(state)?))) else {
            return SlotMatch::Mismatch;
        };
        let Some(position) = ring.position(slot) else {
            return self.confirm_no_record(at, slot);
        };
        let Some(record) = ring.record(position) else {
            return self.confirm_no_record(at, slot);
        };
        if is_torn(record.first) {
            return SlotMatch::Interrupted;
        }
        // A slot whose record names another slot is treated as empty, by writers too.
        let matches = record.slot == at && ring.key_is(&record, key.bytes);
        if !ring.is_unchanged(&record) {
            return SlotMatch::Interrupted;
        }
        if !matches {
            return self.confirm_mismatch(at, slot);
        }
        SlotMatch::Match(Entry {
            record,
            state,
            slot,
            at,
        })
    }

    /// Decides about a slot whose record has another key. If the slot has changed since, the key may have been stored
    /// elsewhere, and its former record replaced by another key's.
    ///
    /// The acquire fence of the validation orders this load after the loads of the record.
    #[cold]
    fn confirm_mismatch(&self, at: usize, slot: Slot) -> SlotMatch {
        if Slot(self.index[at].load(Ordering::Acquire)).same_record(slot) {
            SlotMatch::Mismatch
        } else {
            SlotMatch::Interrupted
        }
    }

    /// Decides about a slot that points to no valid record. It is treated as empty, unless it has changed since, or its
    /// record is being copied over itself.
    ///
    /// Whether the lock is held does not matter: its owner may have been stopped long ago, while it worked on other
    /// entries.
    #[cold]
    fn confirm_no_record(&self, at: usize, slot: Slot) -> SlotMatch {
        // If the loads above saw words of a later record, the loads below see the stores that preceded those words.
        fence(Ordering::Acquire);
        let moving = Slot(self.control[MOVING].load(Ordering::Acquire));
        let now = Slot(self.index[at].load(Ordering::Acquire));
        if now.same_record(slot) && !moving.same_record(slot) {
            SlotMatch::Mismatch
        } else {
            SlotMatch::Interrupted
        }
    }

    /// Reads the extension of an entry, if it has one; `Err` if a writer interfered.
    #[inline(always)]
    pub(super) fn valid_extension(&self, entry: &Entry) -> Result<Option<Extension>, Interrupted> {
        if !entry.record.is_extended() {
            return Ok(None);
        }
        match self.ring_of(entry.state) {
            Some(ring) => {
                let extension = ring.extension(&entry.record);
                if ring.is_unchanged(&entry.record) {
                    Ok(extension)
                } else {
                    Err(Interrupted)
                }
            }
            None => Err(Interrupted),
        }
    }

    /// Copies the value of an entry to a buffer of its length. If the result is [`Lookup::Found`], the buffer holds the
    /// value that belongs to the entry.
    #[inline(always)]
    pub(super) fn read_value(
        &self,
        key: &Keyed<'_>,
        entry: &Entry,
        buffer: &mut [MaybeUninit<u8>],
        extension: Option<Extension>,
    ) -> Lookup {
        let Some(ring) = self.ring_of(entry.state) else {
            return Lookup::Missing;
        };
        let record = &entry.record;
        let checksum = ring.read_value(record, key.hash, buffer, extension);
        if !ring.is_unchanged(record) {
            Lookup::Interrupted
        } else if checksum == record.checksum {
            Lookup::Found(*entry)
        } else {
            Lookup::Damaged
        }
    }

    /// Returns the key of the entry in a slot, if there is an entry and `is_wanted` holds for it.
    pub(super) fn key_at(
        &self,
        at: usize,
        is_wanted: impl Fn(&Record) -> bool,
    ) -> Result<Option<Vec<u8>>, OutOfMemory> {
        for _ in 0..STARTS {
            let slot = Slot(self.index[at].load(Ordering::Acquire));
            let Some(ring) = slot.state().and_then(|state| self.ring_of(state)) else {
                return Ok(None);
            };
            let record = ring.position(slot).and_then(|position| ring.record(position));
            let mut is_mismatch = true;
            if let Some(record) = record {
                let key = ring.key(&record).to_vec(record.key)?;
                let is_unchanged = ring.is_unchanged(&record);
                if is_unchanged && self.hashing.key(&key).fingerprint() == slot.fingerprint() {
                    return Ok((is_wanted(&record) && !is_torn(record.first)).then_some(key));
                }
                is_mismatch = is_unchanged;
            }
            // If the slot has changed, its entry may have been stored elsewhere: look at the slot again.
            if is_mismatch && Slot(self.index[at].load(Ordering::Acquire)).same_record(slot) {
                return Ok(None);
            }
        }
        Ok(None)
    }
}

/// Iterates over the numbers of the bits that are set.
#[inline(always)]
fn set_bits(mut bits: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lowest = (bits != 0).then(|| bits.trailing_zeros() as usize);
        bits &= bits.wrapping_sub(1);
        lowest
    })
}
