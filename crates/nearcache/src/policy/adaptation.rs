//! The adaptation of S3-FIFO: a learned share for the small queue, and a second way into the main queue.
//!
//! - **Share.** A request for a key that the small queue evicted recently shows that the small queue is too short; a request for
//!   one that the main queue evicted shows that main is. Each moves the share by one entry's worth, or by more if the ghost that was
//!   hit is the smaller one (the rule of ARC: Megiddo & Modha, "ARC: a self-tuning, low overhead replacement cache", FAST
//!   2003). So traffic where only recency counts gets up to nine tenths of the cache as a plain FIFO, and traffic with a stable
//!   core nearly none.
//! - **Unused entries.** One in [`PROMOTE_ONE_IN`] entries that leave the small queue unused is promoted all the same. In a loop
//!   that is longer than cache and ghosts, no entry is used before it is evicted, so none would ever be promoted. The few that
//!   are stay long enough to be hit, and are then kept. (The bimodal insertion of Qureshi et al., "Adaptive insertion policies for high
//!   performance caching", ISCA 2007.)
//!
//! A key that returns from main's ghost is probationary again: inserted into main at once, the entries of a loop would evict each
//! other from it.
//!
//! **Invariant.** The share is between [`MIN_SHARE`] and [`MAX_SHARE`].

use super::Queue;
use super::ghost::Ghosts;

/// Shares are fractions of 2^32, so that they need no division.
const WHOLE_BITS: u32 = 32;
const WHOLE: u64 = 1 << WHOLE_BITS;
const MIN_SHARE: u64 = WHOLE / 20;
const MAX_SHARE: u64 = WHOLE / 10 * 9;
const FIRST_SHARE: u64 = WHOLE / 10;
const PROMOTE_ONE_IN: u32 = 64;

/// The small queue's share and what it is learned from.
#[derive(Debug)]
pub(super) struct Adaptation {
    /// The small queue's share of the capacity.
    share: u64,
    /// Counts the unused entries that left the small queue.
    unused: u32,
}

impl Default for Adaptation {
    fn default() -> Self {
        Self {
            share: FIRST_SHARE,
            unused: 0,
        }
    }
}

impl Adaptation {
    /// Returns the target size of the small queue when both queues together have the size `whole`.
    #[allow(clippy::cast_possible_truncation)] // at most `whole`
    pub(super) fn small_target(&self, whole: u64) -> u64 {
        ((u128::from(whole) * u128::from(self.share)) >> WHOLE_BITS) as u64
    }

    /// Enlarges the queue that recently evicted a key which is now inserted again, in a cache of so many entries: by one entry's
    /// worth, times the other ghost's length relative to this queue's if that is more than 1.
    pub(super) fn on_ghost_hit(&mut self, queue: Queue, ghosts: &Ghosts, entries: usize) {
        let one = WHOLE / (entries as u64 + 1);
        let step = |other: usize, this: usize| one.max(one * other as u64 / (this as u64 + 1));
        let (small, main) = (ghosts.small(), ghosts.main());
        self.share = match queue {
            Queue::Small => (self.share + step(main, small)).min(MAX_SHARE),
            Queue::Main => self.share.saturating_sub(step(small, main)).max(MIN_SHARE),
        };
    }

    /// Returns whether to promote the entry that now leaves the small queue unused.
    pub(super) fn promotes_unused(&mut self) -> bool {
        self.unused = self.unused.wrapping_add(1);
        self.unused.is_multiple_of(PROMOTE_ONE_IN)
    }

    /// Checks the invariant.
    pub(super) fn validate(&self) -> Result<(), String> {
        if !(MIN_SHARE..=MAX_SHARE).contains(&self.share) {
            return Err(format!(
                "the small queue's share is {}, expected {MIN_SHARE} to {MAX_SHARE}",
                self.share
            ));
        }
        Ok(())
    }
}
