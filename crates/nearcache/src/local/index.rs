//! The index of a shard: a hash table that maps key hashes to slab slots.
//!
//! **Structure.** Buckets of one cache line. A bucket has a *fingerprint* (one byte of the hash) for each slot number, and an
//! *overflow count*: how many entries belong here but found the bucket full and went to a later one. Beside the count it has a
//! mask of the fingerprints that overflowed. This is F14 (Bronson & Shi, "Open-sourcing F14 for faster, more memory-efficient
//! hash tables", Engineering at Meta, 2019) except for the mask, which F14 does not have.
//!
//! **Invariants.** An entry lies in the first bucket from its home bucket on that had room when it was inserted, and it is
//! counted in the overflow count of every bucket that it passed. So a search ends at the first bucket where no such fingerprint
//! overflowed, and a removal leaves no tombstone.
//!
//! **Concurrency.** None of its own: the shard's lock guards it.
//!
//! hashbrown is not used because its removals leave tombstones. Once these have used up the free places, which they do in a
//! cache that evicts for every insertion, it doubles a table that is more than half full: 13 to 23 bytes an entry instead of 9.

use crate::error::OutOfMemory;
use crate::intrinsics::equal_bytes;
use crate::key::KeyHash;
use crate::memory::try_with_capacity;

const LANES: usize = 12;
/// The load, as a fraction, from which on the table grows.
const MAX_LOAD: (usize, usize) = (7, 10);
/// The table grows by one part in so many. Doubling would leave half of it unused.
const GROWTH: usize = 4;

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Bucket {
    /// A fingerprint for each lane, 0 if the lane is empty; then 2 bytes of overflow count and 2 of the overflow mask, in which
    /// bit `n` stands for the fingerprints that are `n` modulo 16. Together the size of one vector.
    metadata: [u8; 16],
    slots: [u32; LANES],
}

impl Bucket {
    const EMPTY: Self = Self {
        metadata: [0; 16],
        slots: [0; LANES],
    };

    /// Returns how many entries overflowed. A saturated count stays so.
    const fn overflow_count(&self) -> u16 {
        let [.., a, b, _, _] = self.metadata;
        u16::from_ne_bytes([a, b])
    }

    const fn overflow_mask(&self) -> u16 {
        let [.., a, b] = self.metadata;
        u16::from_ne_bytes([a, b])
    }

    fn set_overflow(&mut self, count: u16, mask: u16) {
        let [(a, b), (c, d)] = [count, mask].map(|word| word.to_ne_bytes().into());
        self.metadata[LANES..].copy_from_slice(&[a, b, c, d]);
    }

    /// Returns whether an entry with this fingerprint may have overflowed.
    #[inline]
    const fn may_have_overflowed(&self, fingerprint: u8) -> bool {
        self.overflow_mask() & mask_bit(fingerprint) != 0
    }

    fn add_overflow(&mut self, fingerprint: u8) {
        self.set_overflow(
            self.overflow_count().saturating_add(1),
            self.overflow_mask() | mask_bit(fingerprint),
        );
    }

    /// Counts the removal of an entry that had overflowed.
    fn remove_overflow(&mut self) {
        match self.overflow_count() {
            u16::MAX => {}
            0 | 1 => self.set_overflow(0, 0),
            count => self.set_overflow(count - 1, self.overflow_mask()),
        }
    }

    /// Returns the first match among the slots with this fingerprint.
    #[allow(clippy::inline_always)] // for `get`
    #[inline(always)]
    fn find<M: SlotMatcher>(&self, fingerprint: u8, matcher: &M) -> Option<M::Match> {
        let mut lanes = self.lanes_with(fingerprint);
        // A loop, because `find_map` is not inlined.
        while lanes != 0 {
            let found = matcher.match_slot(self.slots[lanes.trailing_zeros() as usize]);
            if found.is_some() {
                return found;
            }
            lanes &= lanes - 1;
        }
        None
    }

    /// Returns the lanes that have a fingerprint, a bit each.
    #[inline]
    fn lanes_with(&self, fingerprint: u8) -> u32 {
        equal_bytes(&self.metadata, fingerprint) & ((1 << LANES) - 1)
    }

    /// Returns the lane of a slot.
    fn lane_of(&self, fingerprint: u8, slot: u32) -> Option<usize> {
        let mut lanes = self.lanes_with(fingerprint);
        while lanes != 0 {
            let lane = lanes.trailing_zeros() as usize;
            if self.slots[lane] == slot {
                return Some(lane);
            }
            lanes &= lanes - 1;
        }
        None
    }

    /// Returns the first empty lane.
    fn empty_lane(&self) -> Option<usize> {
        let empty = self.lanes_with(0);
        (empty != 0).then_some(empty.trailing_zeros() as usize)
    }
}

/// Decides which of the candidate slots is searched for. (A trait, because a closure would not be inlined.)
pub(super) trait SlotMatcher {
    type Match;
    /// Returns the match if this slot is the one.
    fn match_slot(&self, slot: u32) -> Option<Self::Match>;
}

/// The result of a search that found nothing in the home bucket: whether the entry may have overflowed into a later one.
#[derive(Debug)]
pub(super) struct MayHaveOverflowed(pub(super) bool);

/// Maps key hashes to slab slots. The slab keeps the length.
#[derive(Debug, Default)]
pub(super) struct Index {
    buckets: Box<[Bucket]>,
}

impl Index {
    /// The bytes that an entry takes at the mean load, which is between the load limit and the load after growing.
    pub(super) const BYTES_PER_ENTRY: usize = 9;

    /// Searches the home bucket of a hash. If the match may have overflowed, the caller goes on with
    /// [`find_overflowed`](Self::find_overflowed).
    #[allow(clippy::inline_always)] // for `get`
    #[inline(always)]
    pub(super) fn find<M: SlotMatcher>(
        &self,
        hash: KeyHash,
        matcher: &M,
    ) -> Result<M::Match, MayHaveOverflowed> {
        let Some(bucket) = self.buckets.get(self.home(hash)) else {
            return Err(MayHaveOverflowed(false));
        };
        let found = bucket.find(fingerprint(hash), matcher);
        found.ok_or(MayHaveOverflowed(bucket.may_have_overflowed(fingerprint(hash))))
    }

    /// Searches the buckets after the home bucket.
    pub(super) fn find_overflowed<M: SlotMatcher>(&self, hash: KeyHash, matcher: &M) -> Option<M::Match> {
        let mut place = self.home(hash);
        for _ in 1..self.buckets.len() {
            place = self.next(place);
            let bucket = &self.buckets[place];
            let found = bucket.find(fingerprint(hash), matcher);
            if found.is_some() || !bucket.may_have_overflowed(fingerprint(hash)) {
                return found;
            }
        }
        None
    }

    /// Returns whether an index of `len` entries has to grow before the next insertion.
    pub(super) const fn is_full(&self, len: usize) -> bool {
        len >= self.buckets.len() * LANES * MAX_LOAD.0 / MAX_LOAD.1
    }

    /// Grows the table and inserts `entries`, which must be all entries. O(entries).
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if the larger table cannot be allocated; the old one is unchanged.
    #[cold]
    pub(super) fn try_grow(
        &mut self,
        entries: impl Iterator<Item = (KeyHash, u32)>,
    ) -> Result<(), OutOfMemory> {
        let buckets = self.buckets.len() + self.buckets.len().div_ceil(GROWTH).max(1);
        let mut larger = try_with_capacity(buckets)?;
        larger.resize(buckets, Bucket::EMPTY);
        self.buckets = larger.into_boxed_slice();
        entries.for_each(|(hash, slot)| self.insert(hash, slot));
        Ok(())
    }

    /// Inserts an entry that is not in the index, which must not be full.
    pub(super) fn insert(&mut self, hash: KeyHash, slot: u32) {
        let mut place = self.home(hash);
        for _ in 0..self.buckets.len() {
            let bucket = &mut self.buckets[place];
            if let Some(lane) = bucket.empty_lane() {
                bucket.metadata[lane] = fingerprint(hash);
                bucket.slots[lane] = slot;
                return;
            }
            bucket.add_overflow(fingerprint(hash));
            place = self.next(place);
        }
    }

    /// Removes an entry.
    pub(super) fn remove(&mut self, hash: KeyHash, slot: u32) {
        let home = self.home(hash);
        let mut place = home;
        for _ in 0..self.buckets.len() {
            let bucket = &mut self.buckets[place];
            if let Some(lane) = bucket.lane_of(fingerprint(hash), slot) {
                bucket.metadata[lane] = 0;
                break;
            }
            place = self.next(place);
        }
        // The buckets that the entry passed when it was inserted.
        let (mut passed, end) = (home, place);
        while passed != end {
            self.buckets[passed].remove_overflow();
            passed = self.next(passed);
        }
    }

    /// Iterates over the slots of all entries, in no order.
    pub(super) fn slots(&self) -> impl Iterator<Item = u32> {
        self.buckets.iter().flat_map(|bucket| {
            let lanes = bucket.metadata.iter().zip(bucket.slots);
            let taken = lanes.filter(|&(&fingerprint, _)| fingerprint != 0);
            taken.map(|(_, slot)| slot)
        })
    }

    /// Returns the bucket that a full bucket overflows into.
    fn next(&self, place: usize) -> usize {
        if place + 1 == self.buckets.len() {
            0
        } else {
            place + 1
        }
    }

    /// Returns the home bucket: the one that an entry is put into if it has room.
    #[allow(clippy::cast_possible_truncation)] // below the number of buckets
    fn home(&self, hash: KeyHash) -> usize {
        ((u128::from(hash.bits()) * self.buckets.len() as u128) >> 64) as usize
    }
}

/// Returns the lowest byte of the hash, but never 0. The highest bits choose the bucket.
#[allow(clippy::cast_possible_truncation)] // the lowest bits are wanted
fn fingerprint(hash: KeyHash) -> u8 {
    (hash.bits() as u8).max(1)
}

/// Returns the bit of the overflow mask that stands for a fingerprint.
const fn mask_bit(fingerprint: u8) -> u16 {
    1 << (fingerprint % 16)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Makes few different fingerprints and home buckets, so that entries collide.
    fn hash(number: u64) -> KeyHash {
        KeyHash::from(((number % 5) << 61) | (number % 3))
    }

    impl SlotMatcher for u32 {
        type Match = ();

        fn match_slot(&self, slot: u32) -> Option<()> {
            (slot == *self).then_some(())
        }
    }

    fn find(index: &Index, hash: KeyHash, slot: u32) -> Option<()> {
        match index.find(hash, &slot) {
            Err(MayHaveOverflowed(true)) => index.find_overflowed(hash, &slot),
            found => found.ok(),
        }
    }

    proptest! {
        #[test]
        fn entries_are_found_until_they_are_removed(ops in vec((any::<bool>(), 0..200_u32), 0..600)) {
            let (mut index, mut model) = (Index::default(), HashMap::new());
            for (put, slot) in ops {
                let hash = hash(u64::from(slot));
                if put && !model.contains_key(&slot) {
                    if index.is_full(model.len()) {
                        let entries: Vec<_> = model.iter().map(|(&slot, &hash)| (hash, slot)).collect();
                        index.try_grow(entries.into_iter()).unwrap();
                    }
                    index.insert(hash, slot);
                    model.insert(slot, hash);
                } else if !put {
                    index.remove(hash, slot);
                    model.remove(&slot);
                }
                prop_assert_eq!(index.slots().count(), model.len());
                prop_assert_eq!(find(&index, hash, slot).is_some(), put);
            }
            for slot in 0..200 {
                let found = find(&index, hash(u64::from(slot)), slot);
                prop_assert_eq!(found.is_some(), model.contains_key(&slot));
            }
            for (slot, hash) in model {
                index.remove(hash, slot);
            }
            prop_assert!(index.buckets.iter().all(|bucket| bucket.overflow_count() == 0));
        }
    }

    #[test]
    fn a_bucket_is_a_cache_line() {
        assert_eq!(size_of::<Bucket>(), 64);
    }
}
