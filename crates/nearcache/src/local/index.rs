//! Which slot a key's entry is in: a hash table of slot numbers.
//!
//! Buckets of one cache line, each with a byte of the hash for every slot number (its *tag*) and a count of those entries that
//! wanted in while it was full and went to one of the next buckets (it *spilled* them). A search ends at a bucket that spilled
//! none, or none of such a tag, so nothing is left behind where an entry is taken out. (So does F14, but for the tags: Bronson & Shi, "Open-sourcing F14 for faster,
//! more memory-efficient hash tables", Engineering at Meta, 2019.)
//!
//! Why not hashbrown: what it removes leaves marks, and when those have used up the free places, as they do in a cache that
//! evicts for every insertion, it doubles a table that is more than half full: 13 to 23 bytes an entry in place of 9.

use crate::error::OutOfMemory;
use crate::key::KeyHash;
use crate::memory::try_with_capacity;
use crate::vector::equal_bytes;

const LANES: usize = 12;
/// Grown when fuller than this ...
const MAX_LOAD: (usize, usize) = (7, 10);
/// ... by a part of itself in so many. Not by doubling: half of it would lie idle.
const GROWTH: usize = 4;

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Bucket {
    /// A tag a lane, 0 if it is empty; then 2 bytes of the number of entries spilled, and 2 in which a bit is set for every
    /// remainder by 16 that their tags have. Together what one vector holds.
    head: [u8; 16],
    slots: [u32; LANES],
}

impl Bucket {
    const EMPTY: Self = Self {
        head: [0; 16],
        slots: [0; LANES],
    };

    /// How many were spilled; the most that can be told stays so for ever.
    const fn spilled(&self) -> u16 {
        let [.., a, b, _, _] = self.head;
        u16::from_ne_bytes([a, b])
    }

    const fn spilled_tags(&self) -> u16 {
        let [.., a, b] = self.head;
        u16::from_ne_bytes([a, b])
    }

    fn set_spilled(&mut self, spilled: u16, tags: u16) {
        let [(a, b), (c, d)] = [spilled, tags].map(|word| word.to_ne_bytes().into());
        self.head[LANES..].copy_from_slice(&[a, b, c, d]);
    }

    /// Whether one with this tag may have been spilled.
    #[inline]
    const fn may_have_spilled(&self, tag: u8) -> bool {
        self.spilled_tags() & tag_bit(tag) != 0
    }

    fn spill(&mut self, tag: u8) {
        self.set_spilled(
            self.spilled().saturating_add(1),
            self.spilled_tags() | tag_bit(tag),
        );
    }

    /// One of those that were spilled is no more.
    fn forget_spilled(&mut self) {
        match self.spilled() {
            u16::MAX => {}
            0 | 1 => self.set_spilled(0, 0),
            spilled => self.set_spilled(spilled - 1, self.spilled_tags()),
        }
    }

    /// What is wanted, if one of the slots with this tag has it.
    #[allow(clippy::inline_always)] // for `get`
    #[inline(always)]
    fn find<W: Wanted>(&self, tag: u8, wanted: &W) -> Option<W::Found> {
        let mut lanes = self.lanes_with(tag);
        // A loop, since `find_map` is not inlined.
        while lanes != 0 {
            let found = wanted.at(self.slots[lanes.trailing_zeros() as usize]);
            if found.is_some() {
                return found;
            }
            lanes &= lanes - 1;
        }
        None
    }

    /// The lanes that have a tag, a bit each.
    #[inline]
    fn lanes_with(&self, tag: u8) -> u32 {
        equal_bytes(&self.head, tag) & ((1 << LANES) - 1)
    }

    /// The lane that has a slot.
    fn lane_of(&self, tag: u8, slot: u32) -> Option<usize> {
        let mut lanes = self.lanes_with(tag);
        while lanes != 0 {
            let lane = lanes.trailing_zeros() as usize;
            if self.slots[lane] == slot {
                return Some(lane);
            }
            lanes &= lanes - 1;
        }
        None
    }

    /// The first lane that is empty.
    fn empty_lane(&self) -> Option<usize> {
        let empty = self.lanes_with(0);
        (empty != 0).then_some(empty.trailing_zeros() as usize)
    }
}

/// What is looked for among the slots that the index names. (A trait and not a closure, which would not be inlined.)
pub(super) trait Wanted {
    type Found;
    /// What is wanted, if it is in this slot.
    fn at(&self, slot: u32) -> Option<Self::Found>;
}

/// Whether what was not found may be in one of the next buckets.
#[derive(Debug)]
pub(super) struct MayBeFurther(pub(super) bool);

/// Maps key hashes to slab slots. The slab keeps the length.
#[derive(Debug, Default)]
pub(super) struct Index {
    buckets: Box<[Bucket]>,
}

impl Index {
    /// Bytes an entry takes, at the mean load: between the greatest and what is left of it after growing.
    pub(super) const BYTES_PER_ENTRY: usize = 9;

    /// What is wanted, if one of the slots in the first bucket has it; else whether it may be further on, where
    /// [`find_spilled`](Self::find_spilled) looks.
    #[allow(clippy::inline_always)] // for `get`
    #[inline(always)]
    pub(super) fn find<W: Wanted>(&self, hash: KeyHash, wanted: &W) -> Result<W::Found, MayBeFurther> {
        let Some(bucket) = self.buckets.get(self.first(hash)) else {
            return Err(MayBeFurther(false));
        };
        let found = bucket.find(tag(hash), wanted);
        found.ok_or(MayBeFurther(bucket.may_have_spilled(tag(hash))))
    }

    /// Looks on where the first bucket has spilled.
    pub(super) fn find_spilled<W: Wanted>(&self, hash: KeyHash, wanted: &W) -> Option<W::Found> {
        let mut place = self.first(hash);
        for _ in 1..self.buckets.len() {
            place = self.after(place);
            let bucket = &self.buckets[place];
            let found = bucket.find(tag(hash), wanted);
            if found.is_some() || !bucket.may_have_spilled(tag(hash)) {
                return found;
            }
        }
        None
    }

    /// Whether it has to grow before another entry is put in, having so many.
    pub(super) const fn is_full(&self, len: usize) -> bool {
        len >= self.buckets.len() * LANES * MAX_LOAD.0 / MAX_LOAD.1
    }

    /// Makes it larger, and puts these entries into it: all there are. O(entries).
    ///
    /// The old table goes when the new one is there, so that it is still there if there is no memory for a new one.
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

    /// Puts in an entry that is not there. There has to be room.
    pub(super) fn insert(&mut self, hash: KeyHash, slot: u32) {
        let mut place = self.first(hash);
        for _ in 0..self.buckets.len() {
            let bucket = &mut self.buckets[place];
            if let Some(lane) = bucket.empty_lane() {
                bucket.head[lane] = tag(hash);
                bucket.slots[lane] = slot;
                return;
            }
            bucket.spill(tag(hash));
            place = self.after(place);
        }
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, hash: KeyHash, slot: u32) {
        let first = self.first(hash);
        let mut place = first;
        for _ in 0..self.buckets.len() {
            let bucket = &mut self.buckets[place];
            if let Some(lane) = bucket.lane_of(tag(hash), slot) {
                bucket.head[lane] = 0;
                break;
            }
            place = self.after(place);
        }
        // Those it was spilled by, from the first on.
        let (mut passed, end) = (first, place);
        while passed != end {
            self.buckets[passed].forget_spilled();
            passed = self.after(passed);
        }
    }

    /// The slots that are in it, in no order.
    pub(super) fn slots(&self) -> impl Iterator<Item = u32> {
        self.buckets.iter().flat_map(|bucket| {
            let taken = bucket.head.iter().zip(bucket.slots).filter(|&(&tag, _)| tag != 0);
            taken.map(|(_, slot)| slot)
        })
    }

    /// The bucket that one spills into.
    fn after(&self, place: usize) -> usize {
        if place + 1 == self.buckets.len() {
            0
        } else {
            place + 1
        }
    }

    /// The bucket that an entry is put in if it has room.
    #[allow(clippy::cast_possible_truncation)] // below the number of buckets
    fn first(&self, hash: KeyHash) -> usize {
        ((u128::from(hash.whole()) * self.buckets.len() as u128) >> 64) as usize
    }
}

/// A byte of the hash from its lower end, since the upper chose the bucket; never 0.
#[allow(clippy::cast_possible_truncation)] // the lower bits are what is wanted
fn tag(hash: KeyHash) -> u8 {
    (hash.whole() as u8).max(1)
}

/// The bit that stands for a tag among those spilled.
const fn tag_bit(tag: u8) -> u16 {
    1 << (tag % 16)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Few tags and few buckets, so that entries meet.
    fn hash(number: u64) -> KeyHash {
        KeyHash::from(((number % 5) << 61) | (number % 3))
    }

    impl Wanted for u32 {
        type Found = ();

        fn at(&self, slot: u32) -> Option<()> {
            (slot == *self).then_some(())
        }
    }

    fn find(index: &Index, hash: KeyHash, slot: u32) -> Option<()> {
        match index.find(hash, &slot) {
            Err(MayBeFurther(true)) => index.find_spilled(hash, &slot),
            found => found.ok(),
        }
    }

    proptest! {
        #[test]
        fn finds_what_was_put_in_and_not_taken_out(ops in vec((any::<bool>(), 0..200_u32), 0..600)) {
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
            prop_assert!(index.buckets.iter().all(|bucket| bucket.spilled() == 0));
        }
    }

    #[test]
    fn a_bucket_is_a_cache_line() {
        assert_eq!(size_of::<Bucket>(), 64);
    }
}
