//! The ghosts: which keys were evicted lately, from small and from main, as 16-bit prints of their hashes; about 2 to 4 bytes an
//! entry.
//!
//! A hash chooses a bucket, one cache line, in which each of the two ghosts has lanes of its own, so that one look tells both.
//! There a print takes the place of its ghost's oldest. So a print is forgotten after as many others have come to its *bucket* as
//! the ghost's window there is wide: on average when the ghost's whole length has passed, a quarter sooner or later (half, for
//! main's), which eviction does not mind. (One bucket, which is exact, serves caches of up to 27 entries.)
//! Another key's print is taken for one's own in one of two thousand cases, which costs a promotion.

use super::Queue;
use crate::error::OutOfMemory;
use crate::key::KeyHash;
use crate::memory::try_with_capacity;
use crate::prefetch::prefetch;
use crate::vector::equal_words;

/// How many prints fit a bucket: as many of each ghost as its part of the whole, so that with the hands they fill a cache line.
const SMALL_LANES: usize = 24;
const MAIN_LANES: usize = 7;
const LANES: usize = SMALL_LANES + MAIN_LANES;

/// How many keys a cache of so many entries remembers that left small: about as many as main has when the cache is full. (Main's
/// length now would not do: a ghost that starts empty never fills main.)
const fn small_length(entries: usize) -> usize {
    entries - entries / 8
}

/// ... that left main.
const fn main_length(entries: usize) -> usize {
    entries / 4
}

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Bucket {
    /// First small's, then main's; 0 is none. In two halves, since that is what is compared at once; the last one is no print but
    /// the two hands, a byte each: where the next print goes.
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

    /// Where a print is, in small's lanes first.
    fn find(&self, print: u16) -> Option<usize> {
        let [low, high] = &self.halves;
        let found = equal_words(low, print) | equal_words(high, print) << HALF;
        let lane = found.trailing_zeros() as usize;
        (lane < LANES).then_some(lane)
    }

    /// Puts in a print; whether it took an empty place.
    fn remember(&mut self, queue: Queue, print: u16, window: usize) -> bool {
        let (first, shift) = match queue {
            Queue::Small => (0, 0),
            Queue::Main => (SMALL_LANES, 8),
        };
        let hands = *self.lane(LANES);
        let hand = usize::from(hands >> shift & 0xff);
        let lane = if hand < window { hand } else { 0 };
        #[allow(clippy::cast_possible_truncation)] // at most 24
        let next = (lane + 1) as u16;
        *self.lane(LANES) = hands & !(0xff << shift) | next << shift;
        std::mem::replace(self.lane(first + lane), print) == 0
    }

    fn prints(&self, queue: Queue) -> usize {
        let lanes = match queue {
            Queue::Small => 0..SMALL_LANES,
            Queue::Main => SMALL_LANES..LANES,
        };
        let prints = &self.halves.as_flattened()[lanes];
        prints.iter().filter(|&&print| print != 0).count()
    }
}

#[derive(Debug, Default)]
pub(super) struct Ghosts {
    buckets: Box<[Bucket]>,
    /// 2^32 by the number of buckets: a division is a tenth of an insertion.
    inverse: u64,
    /// How many prints are remembered of what left small, and of what left main.
    small: usize,
    main: usize,
}

impl Ghosts {
    /// How many keys are remembered of those that left small.
    pub(super) const fn small(&self) -> usize {
        self.small
    }

    /// ... that left main.
    pub(super) const fn main(&self) -> usize {
        self.main
    }

    /// Remembers a key that left a queue, in a cache of so many entries. O(1), but for the doubling.
    pub(super) fn remember(&mut self, queue: Queue, hash: KeyHash, entries: usize) {
        let (length, lanes) = match queue {
            Queue::Small => (small_length(entries), SMALL_LANES),
            Queue::Main => (main_length(entries), MAIN_LANES),
        };
        if length == 0 {
            return;
        }
        if !self.suits(entries) && self.resize(entries).is_err() && self.buckets.is_empty() {
            return;
        }
        let window = self.window(length).min(lanes);
        let came = self.bucket(hash).remember(queue, print(hash), window);
        *self.count(queue) += usize::from(came);
    }

    /// Which queue a key left lately, if it is remembered; it is not any more. O(1).
    pub(super) fn take(&mut self, hash: KeyHash) -> Option<Queue> {
        if self.buckets.is_empty() {
            return None;
        }
        let bucket = self.bucket(hash);
        let lane = bucket.find(print(hash))?;
        *bucket.lane(lane) = 0;
        let queue = if lane < SMALL_LANES {
            Queue::Small
        } else {
            Queue::Main
        };
        *self.count(queue) -= 1;
        Some(queue)
    }

    fn count(&mut self, queue: Queue) -> &mut usize {
        match queue {
            Queue::Small => &mut self.small,
            Queue::Main => &mut self.main,
        }
    }

    /// A bucket's part of a ghost of some length, rounded up.
    #[allow(clippy::cast_possible_truncation)] // smaller than the length
    fn window(&self, length: usize) -> usize {
        (((length + self.buckets.len() - 1) as u64 * self.inverse) >> 32) as usize
    }

    /// Whether the number of buckets is right: not too small, nor four times too large.
    fn suits(&self, entries: usize) -> bool {
        let room = self.buckets.len() * SMALL_LANES;
        let length = small_length(entries);
        length <= room && length > room / 8
    }

    /// Sets the number of buckets; what is remembered stays for the most part, but when there is far less to remember.
    /// Without memory for it nothing changes, and the ghosts forget sooner than they should.
    #[cold]
    fn resize(&mut self, entries: usize) -> Result<(), OutOfMemory> {
        let buckets = some_more(small_length(entries).div_ceil(SMALL_LANES));
        let mut resized = try_with_capacity(buckets)?;
        let mut old = std::mem::take(&mut self.buckets);
        if buckets < old.len() {
            old = Box::default();
        }
        // Where a bucket's keys were before, or most of them. What was in one may go on in two, since a print does not tell in which.
        let source = |place: usize| old.get((2 * place + 1) * old.len() / (2 * buckets));
        resized.extend((0..buckets).map(|place| *source(place).unwrap_or(&Bucket::EMPTY)));
        self.buckets = resized.into_boxed_slice();
        self.inverse = (1_u64 << 32).div_ceil(buckets as u64);
        self.small = self.counted(Queue::Small);
        self.main = self.counted(Queue::Main);
        Ok(())
    }

    fn counted(&self, queue: Queue) -> usize {
        self.buckets.iter().map(|bucket| bucket.prints(queue)).sum()
    }

    /// Has a hash's bucket fetched.
    #[inline]
    pub(super) fn prefetch(&self, hash: KeyHash) {
        if let Some(bucket) = self.buckets.get(self.place(hash)) {
            prefetch(bucket);
        }
    }

    /// A hash's bucket; there is one.
    fn bucket(&mut self, hash: KeyHash) -> &mut Bucket {
        &mut self.buckets[self.place(hash)]
    }

    /// Which bucket is a hash's. By the upper bits, so that the parts of a bucket lie side by side when there are more.
    #[allow(clippy::cast_possible_truncation)] // below the number of buckets
    fn place(&self, hash: KeyHash) -> usize {
        ((u128::from(hash.whole()) * self.buckets.len() as u128) >> 64) as usize
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        let counted = (self.counted(Queue::Small), self.counted(Queue::Main));
        let told = (self.small, self.main);
        if counted == told {
            Ok(())
        } else {
            Err(format!("ghosts of {counted:?} count {told:?}"))
        }
    }
}

/// At least this number, at most a quarter more, and few different ones.
const fn some_more(number: usize) -> usize {
    let step = number.next_power_of_two() / 8;
    number.next_multiple_of(if step == 0 { 1 } else { step })
}

/// What is remembered of a hash; never 0.
#[allow(clippy::cast_possible_truncation)] // the lower bits are what is wanted
fn print(hash: KeyHash) -> u16 {
    (hash.whole() as u16).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUES: [Queue; 2] = [Queue::Small, Queue::Main];

    fn hash(number: u64) -> KeyHash {
        KeyHash::from(number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5555)
    }

    #[test]
    fn oldest_is_forgotten_first() {
        for (queue, entries) in [(Queue::Small, 3), (Queue::Main, 12)] {
            let mut ghosts = Ghosts::default();
            (0..5).for_each(|number| ghosts.remember(queue, hash(number), entries));
            assert_eq!(ghosts.take(hash(1)), None);
            assert_eq!(ghosts.take(hash(2)), Some(queue));
            assert_eq!(ghosts.take(hash(2)), None);
            assert_eq!(ghosts.take(hash(4)), Some(queue));
            ghosts.validate().unwrap();
        }
    }

    #[test]
    fn one_ghost_does_not_make_the_other_forget() {
        let mut ghosts = Ghosts::default();
        ghosts.remember(Queue::Main, hash(0), 20);
        (1..50).for_each(|number| ghosts.remember(Queue::Small, hash(number), 20));
        assert_eq!(ghosts.take(hash(0)), Some(Queue::Main));
        (0..50).for_each(|number| ghosts.remember(Queue::Main, hash(number + 100), 20));
        assert_eq!(ghosts.take(hash(49)), Some(Queue::Small));
        ghosts.validate().unwrap();
    }

    #[test]
    fn nothing_is_remembered_where_nothing_may_be() {
        let mut ghosts = Ghosts::default();
        ghosts.remember(Queue::Small, hash(1), 0);
        ghosts.remember(Queue::Main, hash(2), 3);
        assert_eq!((ghosts.take(hash(1)), ghosts.take(hash(2))), (None, None));
    }

    #[test]
    fn is_about_as_long_as_it_is_told() {
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
            (0..length * 4).for_each(|number| ghosts.remember(queue, hash(number), entries));
            ghosts.validate().unwrap();
            let remembered = *ghosts.count(queue);
            assert!(
                remembered.abs_diff(size) <= size / spread + 1,
                "{queue:?}, {size}: {remembered}"
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
    fn what_is_remembered_survives_growth_for_the_most_part() {
        for (more, survive) in [(2_000, 100), (250, 60), (300, 60)] {
            let mut ghosts = Ghosts::default();
            (0..100).for_each(|number| ghosts.remember(Queue::Small, hash(number), 200));
            ghosts.remember(Queue::Main, hash(100), more);
            ghosts.validate().unwrap();
            let known = (0..100).filter(|&number| ghosts.take(hash(number)).is_some());
            let known = known.count();
            assert!(known >= survive, "{more}: {known}");
        }
    }

    #[test]
    fn takes_four_bytes_an_entry_at_most() {
        for entries in [1_000, 1_100, 1_500, 10_000, 1_000_000] {
            let mut ghosts = Ghosts::default();
            ghosts.remember(Queue::Small, hash(1), entries);
            let bytes = size_of_val(&*ghosts.buckets);
            assert!(bytes <= entries * 4, "{entries}: {bytes}");
        }
    }
}
