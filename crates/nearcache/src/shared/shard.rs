//! A shard as its words, and reading from it without a lock.

use std::hint::black_box;
use std::mem::MaybeUninit;
use std::sync::atomic::Ordering;

use super::hashing::{Hashing, Keyed};
use super::index::{Kind, MAX_FREQUENCY, Slot};
use super::layout::{BUCKET, ENTRIES, MOVING, SHARD_EPOCH};
use super::record::{Record, Stamp, is_torn};
use super::ring::Ring;
use super::words::{AtomicU64, fence, replace};
use crate::error::OutOfMemory;
use crate::memory::try_with_capacity;

/// How often a reader starts again before it takes the lock.
const STARTS: u32 = if cfg!(nearcache_loom) { 1 } else { 64 };

/// A shard's words, by what they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shard<'a> {
    pub(super) control: &'a [AtomicU64],
    pub(super) index: &'a [AtomicU64],
    pub(super) small: Ring<'a>,
    pub(super) main: Ring<'a>,
    pub(super) hashing: &'a Hashing,
    pub(super) epoch: &'a AtomicU64,
}

/// An entry as it was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) record: Record,
    pub(super) kind: Kind,
    pub(super) slot: Slot,
    /// The slot's number.
    pub(super) at: usize,
}

impl Entry {
    /// Identifies this write of the entry, which is of the key with this hash.
    pub(super) const fn stamp(&self, key: u64) -> Stamp {
        self.record.stamp(self.kind, key)
    }
}

/// Takes the bytes of a value that is read.
///
/// The bytes are copied once, from the map to where [`buffer`](Self::buffer) says. Nothing is locked meanwhile, so `buffer`
/// may allocate.
#[allow(unsafe_code)]
pub trait Sink {
    /// Whether the caller has this very value at hand, from an earlier read: then it is not copied, and nothing else is asked
    /// of the sink. Hit, expiry and all else are the same.
    fn has_copy(&mut self, _kind: u8, _len: usize, _stamp: &Stamp) -> bool {
        false
    }

    /// Room for a value of exactly `len` bytes. May be called again if a writer interfered: what the earlier room
    /// holds is void then.
    ///
    /// Room of another length makes the read a miss.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if there is no memory for it; the read then fails with it.
    fn buffer(&mut self, kind: u8, len: usize) -> Result<&mut [MaybeUninit<u8>], OutOfMemory>;

    /// The value is complete.
    ///
    /// # Safety
    ///
    /// Every byte of the room that was given last, `len` of them, has been written.
    unsafe fn filled(&mut self, len: usize);
}

#[allow(unsafe_code)]
impl Sink for Vec<u8> {
    fn buffer(&mut self, _kind: u8, len: usize) -> Result<&mut [MaybeUninit<u8>], OutOfMemory> {
        self.clear();
        self.try_reserve(len)?;
        Ok(&mut self.spare_capacity_mut()[..len])
    }

    unsafe fn filled(&mut self, len: usize) {
        // SAFETY: the caller's promise; `buffer` reserved them.
        unsafe { self.set_len(len) };
    }
}

/// What came of a look without a lock.
#[derive(Debug)]
pub(super) enum Look {
    Found(Entry),
    Nothing,
    /// A writer interfered all the time, or the shard is just being rearranged.
    Unclear,
    /// The value does not fit its checksum.
    Damaged,
}

/// What came of looking at one slot.
enum Sight {
    Match(Entry),
    Other,
    Changed,
    Unclear,
}

impl<'a> Shard<'a> {
    /// Whether the cache was cleared and the shard has not been emptied yet.
    #[inline]
    pub(super) fn is_outdated(&self) -> bool {
        self.epoch() != self.epoch.load(Ordering::SeqCst)
    }

    /// The cache's when the shard was last emptied.
    pub(super) fn epoch(&self) -> u64 {
        self.control[SHARD_EPOCH].load(Ordering::Acquire)
    }

    #[inline]
    pub(super) const fn ring(&self, kind: Kind) -> Option<&Ring<'a>> {
        match kind {
            Kind::Small => Some(&self.small),
            Kind::Main | Kind::Trial => Some(&self.main),
            Kind::Ghost => None,
        }
    }

    /// Loads words that a write of the key is likely to need. So it waits for memory and page faults before it takes the
    /// lock rather than while it holds it.
    #[inline]
    pub(super) fn fetch(&self, key: &Keyed<'_>) {
        let (buckets, _) = self.index.as_chunks::<BUCKET>();
        for bucket in key.buckets(buckets.len()) {
            black_box(buckets[bucket][0].load(Ordering::Relaxed));
        }
        self.small.fetch();
        self.main.fetch();
    }

    /// Finds the key's record. What was found was whole at one moment; its value has not been read.
    pub(super) fn look(&self, key: &Keyed<'_>) -> Look {
        for _ in 0..STARTS {
            match self.look_once(key) {
                Look::Unclear => std::hint::spin_loop(),
                clear => return clear,
            }
        }
        Look::Unclear
    }

    /// Tries to, once.
    #[inline(always)]
    pub(super) fn look_once(&self, key: &Keyed<'_>) -> Look {
        if self.is_outdated() {
            return Look::Nothing;
        }
        let fingerprint = key.fingerprint();
        let (buckets, _) = self.index.as_chunks::<BUCKET>();
        for number in key.buckets(buckets.len()) {
            // All slots at once, without a branch for each.
            let candidates = buckets[number].iter().zip(0..).fold(0, |found, (word, at)| {
                let slot = Slot(word.load(Ordering::Relaxed));
                found | (u32::from(slot.fingerprint() == fingerprint) << at)
            });
            for at in ones(candidates) {
                let slot = Slot(buckets[number][at].load(Ordering::Acquire));
                if slot.fingerprint() != fingerprint {
                    continue;
                }
                match self.look_at(key, number * BUCKET + at, slot) {
                    Sight::Match(entry) => return Look::Found(entry),
                    Sight::Other => {}
                    Sight::Changed | Sight::Unclear => return Look::Unclear,
                }
            }
        }
        Look::Nothing
    }

    #[inline(always)]
    fn look_at(&self, key: &Keyed<'_>, at: usize, slot: Slot) -> Sight {
        let Some((kind, ring)) = slot.kind().and_then(|kind| Some((kind, self.ring(kind)?))) else {
            return Sight::Other;
        };
        let Some(position) = ring.position(slot) else {
            return self.look_outside(at, slot);
        };
        let Some(record) = ring.record(position) else {
            return self.look_outside(at, slot);
        };
        if is_torn(record.first) {
            return Sight::Unclear;
        }
        // A slot whose record names another slot is as good as empty, to writers too.
        let matches = record.slot == at && ring.key_is(&record, key.bytes);
        if !ring.is_unchanged(&record) {
            return Sight::Changed;
        }
        if !matches {
            return self.look_beside(at, slot);
        }
        Sight::Match(Entry {
            record,
            kind,
            slot,
            at,
        })
    }

    /// A record of another key: one whose hash has the same fingerprint, unless the slot has been changed, and what it pointed to was
    /// room for somebody else. (The fence that told the record unchanged lies between its words and this look.)
    #[cold]
    fn look_beside(&self, at: usize, slot: Slot) -> Sight {
        if Slot(self.index[at].load(Ordering::Acquire)).same_place(slot) {
            Sight::Other
        } else {
            Sight::Changed
        }
    }

    /// Judges a slot that points to no record. It is as good as empty, unless it has just been changed, or its record is
    /// being copied over itself.
    ///
    /// The lock does not matter: its owner may have been stopped long ago, in work on other entries.
    #[cold]
    fn look_outside(&self, at: usize, slot: Slot) -> Sight {
        // If the record's place was seen with words of a later record, the stores before those are seen too.
        fence(Ordering::Acquire);
        let moving = Slot(self.control[MOVING].load(Ordering::Acquire));
        let now = Slot(self.index[at].load(Ordering::Acquire));
        if !now.same_place(slot) {
            Sight::Changed
        } else if moving.same_place(slot) {
            Sight::Unclear
        } else {
            Sight::Other
        }
    }

    /// Copies a value out and sees to it that it is what the entry says.
    #[inline(always)]
    pub(super) fn copy(&self, key: &Keyed<'_>, entry: &Entry, room: &mut [MaybeUninit<u8>]) -> Look {
        let Some(ring) = self.ring(entry.kind) else {
            return Look::Nothing;
        };
        let record = &entry.record;
        let checksum = ring.copy_checked(record, key.hash, room);
        if !ring.is_unchanged(record) {
            Look::Unclear
        } else if checksum == record.checksum {
            Look::Found(*entry)
        } else {
            Look::Damaged
        }
    }

    /// Counts a hit: raises the frequency, unless it is as high as it gets.
    #[inline]
    pub(super) fn raise(&self, entry: &Entry) {
        if entry.slot.frequency() < MAX_FREQUENCY {
            // If the slot has changed meanwhile, so be it.
            replace(
                &self.index[entry.at],
                entry.slot.0,
                entry.slot.raised().0,
                Ordering::Relaxed,
            );
        }
    }

    /// Entries, dead ones included that have not been noticed yet.
    pub(super) fn entries(&self) -> u64 {
        self.control[ENTRIES].load(Ordering::Relaxed)
    }

    /// The key of the record that a slot points to, if that is wanted.
    pub(super) fn key_at(
        &self,
        at: usize,
        wanted: impl Fn(&Record) -> bool,
    ) -> Result<Option<Vec<u8>>, OutOfMemory> {
        for _ in 0..STARTS {
            let slot = Slot(self.index[at].load(Ordering::Acquire));
            let Some(ring) = slot.kind().and_then(|kind| self.ring(kind)) else {
                return Ok(None);
            };
            let record = ring.position(slot).and_then(|position| ring.record(position));
            let mut is_anothers = true;
            if let Some(record) = record {
                let mut key = try_with_capacity(record.key)?;
                ring.copy_key(&record, &mut key.spare_capacity_mut()[..record.key]);
                // SAFETY: just filled.
                #[allow(unsafe_code)]
                unsafe {
                    key.set_len(record.key);
                }
                let is_unchanged = ring.is_unchanged(&record);
                if is_unchanged && self.hashing.key(&key).fingerprint() == slot.fingerprint() {
                    return Ok((wanted(&record) && !is_torn(record.first)).then_some(key));
                }
                is_anothers = is_unchanged;
            }
            // Unless the slot was changed, and what it pointed to was room for somebody else.
            if is_anothers && Slot(self.index[at].load(Ordering::Acquire)).same_place(slot) {
                return Ok(None);
            }
        }
        Ok(None)
    }
}

/// The numbers of a word's bits that are set.
#[inline(always)]
fn ones(mut bits: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lowest = (bits != 0).then(|| bits.trailing_zeros() as usize);
        bits &= bits.wrapping_sub(1);
        lowest
    })
}
