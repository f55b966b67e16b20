//! The ghosts: the keys that the small and the main queue evicted recently, as 16-bit fingerprints; 2 to 4 bytes an entry.
//!
//! **Structure.** The hash chooses a bucket of one cache line, in which each ghost has lanes of its own, so that one access
//! searches both. A new fingerprint replaces the oldest one of its ghost in the bucket. A key is therefore forgotten after as many
//! others were added to its *bucket* as the ghost's window there is wide. On average that is the ghost's length; a key may be
//! forgotten a quarter sooner or later (half, for main's), which does not change hit ratios. Caches of up to 27 entries have one bucket and
//! are exact.
//!
//! **Invariants.** `small` and `main` are the numbers of fingerprints in all buckets. A window is at most as wide as its lanes.
//!
//! Another key's fingerprint matches in one of two thousand cases. The cost is a promotion.

use super::Queue;
use crate::error::OutOfMemory;
use crate::intrinsics::{equal_words, prefetch};
use crate::key::KeyHash;
use crate::memory::try_with_capacity;

/// The fingerprints of the small ghost in a bucket. Both ghosts' lanes are in proportion to their lengths, and fill a cache line
/// together with the cursors.
const SMALL_LANES: usize = 24;
const MAIN_LANES: usize = 7;
const LANES: usize = SMALL_LANES + MAIN_LANES;

/// Returns the length of the small ghost of a cache of so many entries: about as many as main has when the cache is full. (Main's
/// present length would not do: the ghost would start empty and never fill main.)
const fn small_length(entries: usize) -> usize {
    entries - entries / 8
}

/// Returns the length of the main ghost of a cache of so many entries.
const fn main_length(entries: usize) -> usize {
    entries / 4
}

/// The fingerprints of the keys whose hashes lie in one range.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Bucket {
    /// The small ghost's fingerprints, then the main ghost's; 0 is none. The last word holds the two cursors, a byte each: the
    /// lane of the next fingerprint. In two halves, each the size of one comparison.
    halves: [[u16; HALF]; 2],
}

const HALF: usize = LANES.div_ceil(2);

impl Bucket {
    const EMPTY: Self = Self {
        halves: [[0; HALF]; 2],
    };

    /// Returns a lane; lane [`LANES`] holds the cursors.
    fn lane(&mut self, lane: usize) -> &mut u16 {
        &mut self.halves.as_flattened_mut()[lane]
    }

    /// Returns the lane of a fingerprint, the small ghost's first.
    fn find(&self, fingerprint: u16) -> Option<usize> {
        let [low, high] = &self.halves;
        let found = equal_words(low, fingerprint) | equal_words(high, fingerprint) << HALF;
        let lane = found.trailing_zeros() as usize;
        (lane < LANES).then_some(lane)
    }

    /// Adds a fingerprint; returns whether it replaced none.
    fn insert(&mut self, queue: Queue, fingerprint: u16, window: usize) -> bool {
        let (first, shift) = match queue {
            Queue::Small => (0, 0),
            Queue::Main => (SMALL_LANES, 8),
        };
        let cursors = *self.lane(LANES);
        let cursor = usize::from(cursors >> shift & 0xff);
        let lane = if cursor < window { cursor } else { 0 };
        #[allow(clippy::cast_possible_truncation)] // at most 24
        let next = (lane + 1) as u16;
        *self.lane(LANES) = cursors & !(0xff << shift) | next << shift;
        std::mem::replace(self.lane(first + lane), fingerprint) == 0
    }

    /// Returns how many fingerprints of a ghost the bucket has.
    fn count(&self, queue: Queue) -> usize {
        let lanes = match queue {
            Queue::Small => 0..SMALL_LANES,
            Queue::Main => SMALL_LANES..LANES,
        };
        let fingerprints = &self.halves.as_flattened()[lanes];
        fingerprints
            .iter()
            .filter(|&&fingerprint| fingerprint != 0)
            .count()
    }
}

/// Both ghosts.
#[derive(Debug, Default)]
pub(super) struct Ghosts {
    buckets: Box<[Bucket]>,
    /// 2^32 divided by the number of buckets, because a division takes a tenth of an insertion.
    inverse: u64,
    /// The number of fingerprints in the small ghost.
    small: usize,
    /// The number of fingerprints in the main ghost.
    main: usize,
}

impl Ghosts {
    /// Returns the present length of the small ghost.
    pub(super) const fn small(&self) -> usize {
        self.small
    }

    /// Returns the present length of the main ghost.
    pub(super) const fn main(&self) -> usize {
        self.main
    }

    /// Adds a key that a queue evicted, in a cache of so many entries. O(1), unless the ghosts grow.
    pub(super) fn insert(&mut self, queue: Queue, hash: KeyHash, entries: usize) {
        let (length, lanes) = match queue {
            Queue::Small => (small_length(entries), SMALL_LANES),
            Queue::Main => (main_length(entries), MAIN_LANES),
        };
        if length == 0 {
            return;
        }
        if !self.has_right_size(entries) && self.resize(entries).is_err() && self.buckets.is_empty() {
            return;
        }
        let window = self.window(length).min(lanes);
        let added = self.bucket(hash).insert(queue, fingerprint(hash), window);
        *self.len_mut(queue) += usize::from(added);
    }

    /// Removes a key and returns the queue that evicted it, or `None` if no ghost has it. O(1).
    pub(super) fn take(&mut self, hash: KeyHash) -> Option<Queue> {
        if self.buckets.is_empty() {
            return None;
        }
        let bucket = self.bucket(hash);
        let lane = bucket.find(fingerprint(hash))?;
        *bucket.lane(lane) = 0;
        let queue = if lane < SMALL_LANES {
            Queue::Small
        } else {
            Queue::Main
        };
        *self.len_mut(queue) -= 1;
        Some(queue)
    }

    fn len_mut(&mut self, queue: Queue) -> &mut usize {
        match queue {
            Queue::Small => &mut self.small,
            Queue::Main => &mut self.main,
        }
    }

    /// Returns a bucket's part of a ghost of this length, rounded up.
    #[allow(clippy::cast_possible_truncation)] // smaller than the length
    fn window(&self, length: usize) -> usize {
        (((length + self.buckets.len() - 1) as u64 * self.inverse) >> 32) as usize
    }

    /// Returns whether the number of buckets fits so many entries: neither too small nor more than four times too large.
    fn has_right_size(&self, entries: usize) -> bool {
        let room = self.buckets.len() * SMALL_LANES;
        let length = small_length(entries);
        length <= room && length > room / 8
    }

    /// Sets the number of buckets for so many entries. Growing keeps most keys; shrinking forgets all.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`] if the allocation fails. Nothing changes then, and the ghosts forget sooner than they should.
    #[cold]
    fn resize(&mut self, entries: usize) -> Result<(), OutOfMemory> {
        let buckets = round_up(small_length(entries).div_ceil(SMALL_LANES));
        let mut resized = try_with_capacity(buckets)?;
        let mut old = std::mem::take(&mut self.buckets);
        if buckets < old.len() {
            old = Box::default();
        }
        // The old bucket of most keys of a new one. An old bucket may be copied into two, because fingerprints do not tell which.
        let source = |place: usize| old.get((2 * place + 1) * old.len() / (2 * buckets));
        resized.extend((0..buckets).map(|place| *source(place).unwrap_or(&Bucket::EMPTY)));
        self.buckets = resized.into_boxed_slice();
        self.inverse = (1_u64 << 32).div_ceil(buckets as u64);
        self.small = self.count(Queue::Small);
        self.main = self.count(Queue::Main);
        Ok(())
    }

    /// Counts the fingerprints of a ghost. O(buckets).
    fn count(&self, queue: Queue) -> usize {
        self.buckets.iter().map(|bucket| bucket.count(queue)).sum()
    }

    /// Prefetches the bucket of a hash.
    #[inline]
    pub(super) fn prefetch(&self, hash: KeyHash) {
        if let Some(bucket) = self.buckets.get(self.bucket_index(hash)) {
            prefetch(bucket);
        }
    }

    /// Returns the bucket of a hash. The ghosts have at least one.
    fn bucket(&mut self, hash: KeyHash) -> &mut Bucket {
        &mut self.buckets[self.bucket_index(hash)]
    }

    /// Returns which bucket is a hash's. The highest bits choose it, so that when the ghosts grow the keys of one bucket go to
    /// neighbouring ones.
    #[allow(clippy::cast_possible_truncation)] // below the number of buckets
    fn bucket_index(&self, hash: KeyHash) -> usize {
        ((u128::from(hash.bits()) * self.buckets.len() as u128) >> 64) as usize
    }

    /// Checks that the lengths are right. O(buckets).
    pub(super) fn validate(&self) -> Result<(), String> {
        let counted = (self.count(Queue::Small), self.count(Queue::Main));
        let lengths = (self.small, self.main);
        if counted == lengths {
            Ok(())
        } else {
            Err(format!(
                "ghosts have {counted:?} fingerprints, but their lengths are {lengths:?}"
            ))
        }
    }
}

/// Rounds up by at most a quarter, to one of few different numbers.
const fn round_up(number: usize) -> usize {
    let step = number.next_power_of_two() / 8;
    number.next_multiple_of(if step == 0 { 1 } else { step })
}

/// Returns the lowest 16 bits of the hash, but never 0.
#[allow(clippy::cast_possible_truncation)] // the lowest bits are wanted
fn fingerprint(hash: KeyHash) -> u16 {
    (hash.bits() as u16).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUES: [Queue; 2] = [Queue::Small, Queue::Main];

    fn hash(number: u64) -> KeyHash {
        KeyHash::from(number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5555)
    }

    #[test]
    fn the_oldest_key_is_forgotten_first() {
        for (queue, entries) in [(Queue::Small, 3), (Queue::Main, 12)] {
            let mut ghosts = Ghosts::default();
            (0..5).for_each(|number| ghosts.insert(queue, hash(number), entries));
            assert_eq!(ghosts.take(hash(1)), None);
            assert_eq!(ghosts.take(hash(2)), Some(queue));
            assert_eq!(ghosts.take(hash(2)), None);
            assert_eq!(ghosts.take(hash(4)), Some(queue));
            ghosts.validate().unwrap();
        }
    }

    #[test]
    fn inserting_into_one_ghost_keeps_the_other() {
        let mut ghosts = Ghosts::default();
        ghosts.insert(Queue::Main, hash(0), 20);
        (1..50).for_each(|number| ghosts.insert(Queue::Small, hash(number), 20));
        assert_eq!(ghosts.take(hash(0)), Some(Queue::Main));
        (0..50).for_each(|number| ghosts.insert(Queue::Main, hash(number + 100), 20));
        assert_eq!(ghosts.take(hash(49)), Some(Queue::Small));
        ghosts.validate().unwrap();
    }

    #[test]
    fn ghosts_of_length_zero_stay_empty() {
        let mut ghosts = Ghosts::default();
        ghosts.insert(Queue::Small, hash(1), 0);
        ghosts.insert(Queue::Main, hash(2), 3);
        assert_eq!((ghosts.take(hash(1)), ghosts.take(hash(2))), (None, None));
    }

    #[test]
    fn a_ghost_has_about_the_intended_length() {
        for (queue, entries) in QUEUES
            .into_iter()
            .flat_map(|queue| [35, 52, 300, 5_000, 100_000].map(|entries| (queue, entries)))
        {
            let mut ghosts = Ghosts::default();
            let (size, spread) = match queue {
                Queue::Small => (small_length(entries), 10),
                Queue::Main => (main_length(entries), 4),
            };
            let length = size as u64;
            (0..length * 4).for_each(|number| ghosts.insert(queue, hash(number), entries));
            ghosts.validate().unwrap();
            let len = *ghosts.len_mut(queue);
            assert!(
                len.abs_diff(size) <= size / spread + 1,
                "{queue:?}, expected {size}: {len}"
            );
            let mut known = |from: u64, to: u64| {
                let known = (from..to).filter(|&number| ghosts.take(hash(number)).is_some());
                known.count() * 100 / usize::try_from(to - from).unwrap()
            };
            assert!(known(length * 4 - length / 2, length * 4) >= 100 - spread);
            assert!(known(length * 2, length * 5 / 2) <= spread);
        }
    }

    #[test]
    fn most_keys_survive_growth() {
        for (more, survive) in [(2_000, 100), (250, 60), (300, 60)] {
            let mut ghosts = Ghosts::default();
            (0..100).for_each(|number| ghosts.insert(Queue::Small, hash(number), 200));
            ghosts.insert(Queue::Main, hash(100), more);
            ghosts.validate().unwrap();
            let known = (0..100).filter(|&number| ghosts.take(hash(number)).is_some());
            let known = known.count();
            assert!(known >= survive, "{more}: {known}");
        }
    }

    #[test]
    fn ghosts_take_at_most_four_bytes_an_entry() {
        for entries in [1_000, 1_100, 1_500, 10_000, 1_000_000] {
            let mut ghosts = Ghosts::default();
            ghosts.insert(Queue::Small, hash(1), entries);
            let bytes = size_of_val(&*ghosts.buckets);
            assert!(bytes <= entries * 4, "{entries}: {bytes}");
        }
    }
}
