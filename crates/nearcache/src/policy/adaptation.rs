//! What makes S3-FIFO adaptive: the share of its small queue, learned from ghosts, and a way into main for the unasked.
//!
//! - **Share.** A request for what small gave up lately says that small is too short; one for what main gave up lately says
//!   that main is. Either moves the share by one entry's worth, or by more if its ghost is the smaller one (the rule of
//!   ARC: Megiddo & Modha, "ARC: a self-tuning, low overhead replacement cache", FAST 2003). So traffic that lives by recency
//!   gets up to nine tenths of the cache as a plain FIFO, and traffic with a stable core next to none.
//! - **The unasked.** One in [`SPARE_ONE_IN`] entries that leave small without having been asked for moves to main all the
//!   same. In a loop longer than cache and ghosts nothing is ever asked for in time, and every entry would be gone before
//!   its turn comes again; those few stay long enough to be hit, and from then on they are kept. (The bimodal insertion of
//!   Qureshi et al., "Adaptive insertion policies for high performance caching", ISCA 2007.)
//!
//! What comes back from main's ghost starts in small again: put back into main at once, a loop's entries would drive
//! each other out of it.

use super::Queue;
use super::ghost::Ghosts;

/// Shares are counted in parts of a whole of 2^32, which takes no division.
const WHOLE_BITS: u32 = 32;
const WHOLE: u64 = 1 << WHOLE_BITS;
const MIN_SHARE: u64 = WHOLE / 20;
const MAX_SHARE: u64 = WHOLE / 10 * 9;
const FIRST_SHARE: u64 = WHOLE / 10;
const SPARE_ONE_IN: u32 = 64;

#[derive(Debug)]
pub(super) struct Adaptation {
    /// Small's part of the whole.
    share: u64,
    /// Counts the unasked that left small.
    unasked: u32,
}

impl Default for Adaptation {
    fn default() -> Self {
        Self {
            share: FIRST_SHARE,
            unasked: 0,
        }
    }
}

impl Adaptation {
    /// What small may hold of a whole.
    #[allow(clippy::cast_possible_truncation)] // a share of it
    pub(super) fn small_target(&self, whole: u64) -> u64 {
        ((u128::from(whole) * u128::from(self.share)) >> WHOLE_BITS) as u64
    }

    /// A request came for an entry that a queue of a cache of so many entries gave up lately: that one gets more, by one entry's
    /// worth of the whole, times how much longer the other's ghost is.
    pub(super) fn was_missed(&mut self, queue: Queue, ghosts: &Ghosts, entries: usize) {
        let one = WHOLE / (entries as u64 + 1);
        let step = |other: usize, this: usize| one.max(one * other as u64 / (this as u64 + 1));
        let (small, main) = (ghosts.small(), ghosts.main());
        self.share = match queue {
            Queue::Small => (self.share + step(main, small)).min(MAX_SHARE),
            Queue::Main => self.share.saturating_sub(step(small, main)).max(MIN_SHARE),
        };
    }

    /// Whether an entry that leaves small unasked is to move to main all the same.
    pub(super) fn spares_unasked(&mut self) -> bool {
        self.unasked = self.unasked.wrapping_add(1);
        self.unasked.is_multiple_of(SPARE_ONE_IN)
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        if !(MIN_SHARE..=MAX_SHARE).contains(&self.share) {
            return Err(format!("small's share is {}", self.share));
        }
        Ok(())
    }
}
