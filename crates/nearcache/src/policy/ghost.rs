//! The ghost: which keys were evicted lately, as 16-bit prints of their hashes; about 2 to 4 bytes each.
//!
//! A hash chooses a bucket, one cache line, in which a print takes the place of the oldest. So a print is forgotten after as
//! many others have come to its *bucket* as the bucket's window is wide: on average when the ghost's whole length has passed,
//! a fifth sooner or later, which eviction does not mind. (One bucket, which is exact, serves caches of up to 31 entries.)
//! Another key's print is taken for one's own in one of two thousand cases, which costs a promotion.

use crate::key::KeyHash;
use crate::vector::equal_words;

/// How many prints fit a bucket, so that it fills a cache line together with its hand.
const LANES: usize = 31;

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Bucket {
    /// 0 is none. In two halves, since that is what is compared at once; the last one is no print but the hand: where the
    /// next print goes.
    halves: [[u16; HALF]; 2],
}

const HALF: usize = LANES.div_ceil(2);

impl Bucket {
    const EMPTY: Self = Self {
        halves: [[0; HALF]; 2],
    };

    fn lane(&mut self, lane: usize) -> &mut u16 {
        &mut self.halves.as_flattened_mut()[lane]
    }

    /// Where a print is.
    fn find(&self, print: u16) -> Option<usize> {
        let [low, high] = &self.halves;
        let found = equal_words(low, print) | equal_words(high, print) << HALF;
        let lane = found.trailing_zeros() as usize;
        (lane < LANES).then_some(lane)
    }

    fn prints(&self) -> impl Iterator<Item = u16> + '_ {
        self.halves.as_flattened().iter().take(LANES).copied()
    }
}

#[derive(Debug, Default)]
pub(super) struct Ghost {
    /// None, or a power of two.
    buckets: Vec<Bucket>,
    /// How many prints are remembered.
    len: usize,
}

impl Ghost {
    /// How many keys are remembered.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Remembers a key. About `capacity` are remembered, the last ones. O(1), but for the doubling.
    pub(super) fn remember(&mut self, hash: KeyHash, capacity: usize) {
        if capacity == 0 {
            return;
        }
        if !self.suits(capacity) {
            self.resize(capacity);
        }
        let window = self.window(capacity);
        let bucket = self.bucket(hash);
        let hand = usize::from(*bucket.lane(LANES));
        let lane = if hand < window { hand } else { 0 };
        let forgotten = std::mem::replace(bucket.lane(lane), print(hash));
        #[allow(clippy::cast_possible_truncation)] // at most 31
        let hand = (lane + 1) as u16;
        *bucket.lane(LANES) = hand;
        self.len += usize::from(forgotten == 0);
    }

    /// Whether the key was remembered; it is not any more. O(1).
    pub(super) fn take(&mut self, hash: KeyHash) -> bool {
        if self.len == 0 {
            return false;
        }
        let bucket = self.bucket(hash);
        let Some(lane) = bucket.find(print(hash)) else {
            return false;
        };
        *bucket.lane(lane) = 0;
        self.len -= 1;
        true
    }

    /// Whether the number of buckets is right for so many keys: not too small, nor four times too large.
    fn suits(&self, capacity: usize) -> bool {
        let room = self.buckets.len() * LANES;
        capacity <= room && capacity > room / 8
    }

    /// How many lanes of each bucket are in use.
    fn window(&self, capacity: usize) -> usize {
        // The number of buckets is a power of two, and a division a tenth of an insertion.
        let window = (capacity + self.buckets.len() - 1) >> self.buckets.len().trailing_zeros();
        window.min(LANES)
    }

    /// Sets the number of buckets; what is remembered stays, but when there is far less to remember.
    #[cold]
    fn resize(&mut self, capacity: usize) {
        let buckets = capacity.div_ceil(LANES).next_power_of_two();
        if buckets > self.buckets.len() {
            self.grow(buckets);
        } else if buckets < self.buckets.len() {
            (self.buckets, self.len) = (vec![Bucket::EMPTY; buckets], 0);
        }
    }

    /// A bucket's keys go on in the buckets it is split into; since a print does not tell in which, in each of them.
    fn grow(&mut self, buckets: usize) {
        let old = std::mem::take(&mut self.buckets);
        let copies = buckets / old.len().max(1);
        if old.is_empty() {
            self.buckets = vec![Bucket::EMPTY; buckets];
            return;
        }
        self.len *= copies;
        self.buckets = Vec::with_capacity(buckets);
        for bucket in old {
            self.buckets.extend(std::iter::repeat_n(bucket, copies));
        }
    }

    /// A hash's bucket; there is one. By the upper bits, so that a bucket's halves lie side by side after a doubling.
    fn bucket(&mut self, hash: KeyHash) -> &mut Bucket {
        let index = (u128::from(hash.whole()) * self.buckets.len() as u128) >> 64;
        #[allow(clippy::cast_possible_truncation)] // below the number of buckets
        &mut self.buckets[index as usize]
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        let prints = self.buckets.iter().flat_map(Bucket::prints);
        let counted = prints.filter(|&print| print != 0).count();
        if counted == self.len {
            Ok(())
        } else {
            Err(format!("a ghost of {counted} counts {}", self.len))
        }
    }
}

/// What is remembered of a hash; never 0.
#[allow(clippy::cast_possible_truncation)] // the lower bits are what is wanted
fn print(hash: KeyHash) -> u16 {
    (hash.whole() as u16).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u64) -> KeyHash {
        KeyHash::from(number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5555)
    }

    #[test]
    fn oldest_is_forgotten_first() {
        let mut ghost = Ghost::default();
        (0..5).for_each(|number| ghost.remember(hash(number), 3));
        assert!(!ghost.take(hash(1)));
        assert!(ghost.take(hash(2)));
        assert!(!ghost.take(hash(2)));
        assert!(ghost.take(hash(4)));
        ghost.validate().unwrap();
    }

    #[test]
    fn nothing_is_remembered_where_nothing_may_be() {
        let mut ghost = Ghost::default();
        ghost.remember(hash(1), 0);
        assert!(!ghost.take(hash(1)));
    }

    #[test]
    fn is_about_as_long_as_it_is_told() {
        for capacity in [31, 45, 300, 5_000, 100_000_u64] {
            let mut ghost = Ghost::default();
            let size = usize::try_from(capacity).unwrap();
            (0..capacity * 4).for_each(|number| ghost.remember(hash(number), size));
            ghost.validate().unwrap();
            assert!(
                ghost.len().abs_diff(size) <= size / 10 + 1,
                "{capacity}: {}",
                ghost.len()
            );
            let young = (capacity * 7 / 2..capacity * 4).filter(|&number| ghost.take(hash(number)));
            assert!(young.count() * 100 >= size / 2 * 97);
            let old = (capacity * 2..capacity * 5 / 2).filter(|&number| ghost.take(hash(number)));
            assert!(old.count() * 100 <= size * 5);
        }
    }

    #[test]
    fn what_is_remembered_survives_growth() {
        let mut ghost = Ghost::default();
        (0..100).for_each(|number| ghost.remember(hash(number), 200));
        ghost.remember(hash(100), 3_000);
        ghost.validate().unwrap();
        assert!((0..=100).all(|number| ghost.take(hash(number))));
    }

    #[test]
    fn takes_four_bytes_a_key_at_most() {
        for capacity in [1_000, 10_000, 1_000_000] {
            let mut ghost = Ghost::default();
            ghost.remember(hash(1), capacity);
            let bytes = ghost.buckets.len() * size_of::<Bucket>();
            assert!(bytes <= capacity * 4 + capacity / 4, "{capacity}: {bytes}");
        }
    }
}
