//! Which slot a key's entry is in: a hash table of slot numbers.
//!
//! Buckets of one cache line, each with a byte of the hash for every slot number (its *tag*) and a count of those entries that
//! wanted in while it was full and went to one of the next buckets (it *spilled* them). A search ends at a bucket that spilled
//! none, so nothing is left behind where an entry is taken out. (So does F14: Bronson & Shi, "Open-sourcing F14 for faster,
//! more memory-efficient hash tables", Engineering at Meta, 2019.)
//!
//! Why not hashbrown: what it removes leaves marks, and when those have used up the free places, as they do in a cache that
//! evicts for every insertion, it doubles a table that is more than half full: 13 to 23 bytes an entry in place of 9.

use crate::key::KeyHash;
use crate::vector::equal_bytes;

const LANES: usize = 12;
/// Grown when fuller than this ...
const MAX_LOAD: (usize, usize) = (7, 10);
/// ... by a part of itself in so many. Not by doubling: half of it would lie idle.
const GROWTH: usize = 4;

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Bucket {
    /// A tag a lane, 0 if it is empty; then 4 bytes of the number of entries spilled. Together what one vector holds.
    head: [u8; 16],
    slots: [u32; LANES],
}

impl Bucket {
    const EMPTY: Self = Self {
        head: [0; 16],
        slots: [0; LANES],
    };

    const fn spilled(&self) -> u32 {
        let [.., a, b, c, d] = self.head;
        u32::from_ne_bytes([a, b, c, d])
    }

    fn set_spilled(&mut self, spilled: u32) {
        self.head[LANES..].copy_from_slice(&spilled.to_ne_bytes());
    }

    /// What `look` finds in the first of the slots with this tag where it finds something.
    #[allow(clippy::inline_always)] // for `get`
    #[inline(always)]
    fn find<T>(&self, tag: u8, look: impl Fn(u32) -> Option<T>) -> Option<T> {
        // A loop, since `find_map` is not inlined.
        for lane in self.lanes_with(tag) {
            let found = look(self.slots[lane]);
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// The lanes that have a tag.
    #[inline]
    fn lanes_with(&self, tag: u8) -> impl Iterator<Item = usize> + use<> {
        let mut lanes = equal_bytes(&self.head, tag) & ((1 << LANES) - 1);
        std::iter::from_fn(move || {
            let lane = (lanes != 0).then(|| lanes.trailing_zeros() as usize)?;
            lanes &= lanes - 1;
            Some(lane)
        })
    }
}

#[derive(Debug, Default)]
pub(super) struct Index {
    buckets: Vec<Bucket>,
    len: usize,
}

impl Index {
    /// Bytes an entry takes, at the mean load: between the greatest and what is left of it after growing.
    pub(super) const BYTES_PER_ENTRY: usize = 9;

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// What `look` finds in the first of the slots that may have this hash where it finds something.
    #[allow(clippy::inline_always)] // for `get`
    #[inline(always)]
    pub(super) fn find<T>(&self, hash: KeyHash, look: impl Fn(u32) -> Option<T>) -> Option<T> {
        let bucket = self.buckets.get(self.first(hash))?;
        let found = bucket.find(tag(hash), &look);
        if found.is_some() || bucket.spilled() == 0 {
            return found;
        }
        self.find_spilled(hash, look)
    }

    /// Looks on where the first bucket has spilled.
    #[cold]
    #[inline(never)]
    fn find_spilled<T>(&self, hash: KeyHash, look: impl Fn(u32) -> Option<T>) -> Option<T> {
        let mut place = self.first(hash);
        for _ in 1..self.buckets.len() {
            place = self.after(place);
            let bucket = &self.buckets[place];
            let found = bucket.find(tag(hash), &look);
            if found.is_some() || bucket.spilled() == 0 {
                return found;
            }
        }
        None
    }

    /// Whether it has to grow before another entry is put in.
    pub(super) const fn is_full(&self) -> bool {
        self.len >= self.buckets.len() * LANES * MAX_LOAD.0 / MAX_LOAD.1
    }

    /// Makes it larger, and puts these entries into it: all there are. O(entries).
    #[cold]
    pub(super) fn grow(&mut self, entries: impl Iterator<Item = (KeyHash, u32)>) {
        let buckets = self.buckets.len() + self.buckets.len().div_ceil(GROWTH).max(1);
        // The old one goes first, so that the two do not take memory at the same time.
        *self = Self::default();
        self.buckets = vec![Bucket::EMPTY; buckets];
        entries.for_each(|(hash, slot)| self.insert(hash, slot));
    }

    /// Puts in an entry that is not there. There has to be room.
    pub(super) fn insert(&mut self, hash: KeyHash, slot: u32) {
        let mut place = self.first(hash);
        for _ in 0..self.buckets.len() {
            let bucket = &mut self.buckets[place];
            if let Some(lane) = bucket.lanes_with(0).next() {
                bucket.head[lane] = tag(hash);
                bucket.slots[lane] = slot;
                self.len += 1;
                return;
            }
            bucket.set_spilled(bucket.spilled() + 1);
            place = self.after(place);
        }
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, hash: KeyHash, slot: u32) {
        let first = self.first(hash);
        let mut place = first;
        for _ in 0..self.buckets.len() {
            let bucket = &mut self.buckets[place];
            let mut lanes = bucket.lanes_with(tag(hash));
            if let Some(lane) = lanes.find(|&lane| bucket.slots[lane] == slot) {
                bucket.head[lane] = 0;
                self.len -= 1;
                break;
            }
            place = self.after(place);
        }
        // Those it was spilled by, from the first on.
        let (mut passed, end) = (first, place);
        while passed != end {
            let bucket = &mut self.buckets[passed];
            bucket.set_spilled(bucket.spilled() - 1);
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

    proptest! {
        #[test]
        fn finds_what_was_put_in_and_not_taken_out(ops in vec((any::<bool>(), 0..200_u32), 0..600)) {
            let (mut index, mut model) = (Index::default(), HashMap::new());
            for (put, slot) in ops {
                let hash = hash(u64::from(slot));
                if put && !model.contains_key(&slot) {
                    if index.is_full() {
                        let entries: Vec<_> = model.iter().map(|(&slot, &hash)| (hash, slot)).collect();
                        index.grow(entries.into_iter());
                    }
                    index.insert(hash, slot);
                    model.insert(slot, hash);
                } else if !put {
                    index.remove(hash, slot);
                    model.remove(&slot);
                }
                prop_assert_eq!(index.len(), model.len());
                prop_assert_eq!(index.find(hash, |other| (other == slot).then_some(())).is_some(), put);
            }
            prop_assert_eq!(index.slots().count(), model.len());
            for slot in 0..200 {
                let found = index.find(hash(u64::from(slot)), |other| (other == slot).then_some(()));
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
