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

use super::ghost::Ghost;
use crate::key::KeyHash;

const MIN_SHARE: f64 = 0.05;
const MAX_SHARE: f64 = 0.9;
const FIRST_SHARE: f64 = 0.1;
const SPARE_ONE_IN: u32 = 64;

#[derive(Debug)]
pub(super) struct Adaptation {
    /// Small's part of the whole.
    share: f64,
    /// What main gave up, a quarter as long as the cache.
    main_ghost: Ghost,
    /// Counts the unasked that left small.
    unasked: u32,
}

impl Default for Adaptation {
    fn default() -> Self {
        Self {
            share: FIRST_SHARE,
            main_ghost: Ghost::default(),
            unasked: 0,
        }
    }
}

impl Adaptation {
    /// What small may hold of a whole.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )] // a share of it
    pub(super) fn small_target(&self, whole: u64) -> u64 {
        (whole as f64 * self.share) as u64
    }

    /// A request came for an entry that small gave up, when its ghost had `small_ghost` others.
    pub(super) fn small_was_missed(&mut self, small_ghost: usize, entries: usize) {
        let step = Self::step(self.main_ghost.len(), small_ghost, entries);
        self.share = (self.share + step).min(MAX_SHARE);
    }

    /// Whether a request is for an entry that main gave up; if so, main gets more.
    pub(super) fn main_was_missed(&mut self, hash: KeyHash, small_ghost: usize, entries: usize) {
        if self.main_ghost.take(hash) {
            let step = Self::step(small_ghost, self.main_ghost.len(), entries);
            self.share = (self.share - step).max(MIN_SHARE);
        }
    }

    /// One entry's worth of the whole, times how much longer the other ghost is than this.
    #[allow(clippy::cast_precision_loss)] // a ratio of counts
    fn step(other: usize, this: usize, entries: usize) -> f64 {
        (other as f64 / (this + 1) as f64).max(1.0) / (entries + 1) as f64
    }

    /// Main gave up an entry.
    pub(super) fn main_gave_up(&mut self, hash: KeyHash, entries: usize) {
        self.main_ghost.remember(hash, entries / 4);
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
        self.main_ghost.validate()
    }
}
