//! Eviction: which entry goes when room is wanted.
//!
//! A policy owns no entries. It threads lists through the [`Node`] that every entry carries, reached by slot number
//! through [`Nodes`], and keeps what else it needs (list ends, ghosts) to itself. One file per policy:
//!
//! - [`s3_fifo`]: as published, and with [`adaptation`] the adaptive one, which is the default;
//! - [`lru`]: least recently used.
//!
//! To add a policy: a file here that implements [`Policy`], a variant in [`Eviction`] and in [`AnyPolicy`].

mod adaptation;
mod ghost;
mod list;
mod lru;
mod s3_fifo;

use std::cell::Cell;

use lru::Lru;
use s3_fifo::S3Fifo;

use crate::key::KeyHash;

/// "No slot", where a slot number is kept.
pub(crate) const NIL: u32 = u32::MAX;

/// Which entries a cache gives up when it is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Eviction {
    /// S3-FIFO with a small queue whose share adapts to the traffic: near LRU where recency is all there is, and keeping
    /// its own in loops and scans.
    #[default]
    Adaptive,
    /// S3-FIFO (Yang, Zhang, Qiu, Yue & Rashmi, "FIFO queues are all you need for cache eviction", SOSP 2023),
    /// promoting entries read more than once: keeps what is asked for again, lets one-time requests pass.
    S3Fifo,
    /// Least recently used.
    Lru,
}

impl Eviction {
    /// What the ghosts take for an entry of a full cache: 2 to 4 bytes.
    pub(crate) const BYTES_PER_ENTRY: usize = 3;
}

/// What a policy keeps with each entry: 16 bytes, together with the entry's stamp.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// The neighbour towards the head (younger end) of the list.
    pub(crate) prev: u32,
    /// The neighbour towards the tail (older end) of the list.
    pub(crate) next: u32,
    /// What the entry counts against the capacity.
    pub(crate) weight: u32,
    /// From the lowest bit: 2 bits of frequency, 1 of queue, 29 of stamp. A cell, so that a reader who holds the entry by
    /// reference can mark it as used, and need not look it up again.
    mark: Cell<u32>,
}

const FREQUENCY_BITS: u32 = 2;
const FREQUENCY_MASK: u32 = (1 << FREQUENCY_BITS) - 1;
const QUEUE_BIT: u32 = 1 << FREQUENCY_BITS;
const STAMP_SHIFT: u32 = FREQUENCY_BITS + 1;

impl Node {
    pub(crate) const fn new(weight: u32, stamp: Stamp) -> Self {
        Self {
            prev: NIL,
            next: NIL,
            weight,
            mark: Cell::new(stamp.0 << STAMP_SHIFT),
        }
    }

    /// How often it was asked for lately, as far as the policy counts: up to 3.
    pub(crate) const fn frequency(&self) -> u32 {
        self.mark.get() & FREQUENCY_MASK
    }

    pub(crate) fn set_frequency(&mut self, frequency: u32) {
        *self.mark.get_mut() = self.mark.get() & !FREQUENCY_MASK | frequency.min(FREQUENCY_MASK);
    }

    /// It was asked for. Written only when that changes something: the line of a hot entry stays clean.
    #[inline]
    pub(crate) fn count_use(&self) {
        if self.frequency() < FREQUENCY_MASK {
            // The frequency has the lowest bits.
            self.mark.set(self.mark.get() + 1);
        }
    }

    /// Which of the policy's lists it is in.
    pub(crate) const fn queue(&self) -> Queue {
        if self.mark.get() & QUEUE_BIT == 0 {
            Queue::Small
        } else {
            Queue::Main
        }
    }

    pub(crate) fn set_queue(&mut self, queue: Queue) {
        *self.mark.get_mut() =
            self.mark.get() & !QUEUE_BIT | if queue == Queue::Main { QUEUE_BIT } else { 0 };
    }

    pub(crate) const fn stamp(&self) -> Stamp {
        Stamp(self.mark.get() >> STAMP_SHIFT)
    }

    pub(crate) fn set_stamp(&mut self, stamp: Stamp) {
        *self.mark.get_mut() = self.mark.get() & (FREQUENCY_MASK | QUEUE_BIT) | stamp.0 << STAMP_SHIFT;
    }
}

/// One of a policy's lists. A policy of one list calls that small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    Small,
    Main,
}

/// Which of the shard's writes a value came by, so that a writer can tell that what it read is still there. Counts up to
/// 2^29 and begins again: a value that is written that often while one update computes could pass for the one it read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp(u32);

impl Stamp {
    pub(crate) const fn next(self) -> Self {
        Self((self.0 + 1) & (u32::MAX >> STAMP_SHIFT))
    }
}

/// The entries' nodes by slot number.
pub(crate) trait Nodes {
    fn node(&self, slot: u32) -> &Node;
    fn node_mut(&mut self, slot: u32) -> &mut Node;
}

/// Of what there is too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pressure {
    Entries,
    Weight,
}

/// The order in which entries go.
///
/// Invariant: every entry of the shard is in exactly one list of the policy, but for the moment between `detach` and
/// `attach`. Every method is O(1), amortized for `victim`.
pub(crate) trait Policy {
    /// Has fetched what will be looked at when a key of this hash is admitted or evicted.
    fn prefetch(&self, hash: KeyHash);
    /// Which entry is likely to be the next victim.
    fn next_victim(&self) -> Option<u32>;
    /// Takes in an entry that was not there before.
    fn admit(&mut self, nodes: &mut impl Nodes, slot: u32, hash: KeyHash);
    /// Whether to count a use at the entry's node is all there is to do for a hit.
    fn hit_is_mark(&self) -> bool;
    /// The entry was asked for.
    fn hit(&mut self, nodes: &mut impl Nodes, slot: u32);
    /// The entry leaves, not for want of room.
    fn detach(&mut self, nodes: &mut impl Nodes, slot: u32);
    /// A detached entry returns, with its history, as the youngest of its list.
    fn attach(&mut self, nodes: &mut impl Nodes, slot: u32);
    /// Chooses the entry to evict and detaches it; `None` if there is no entry.
    fn victim(&mut self, nodes: &mut impl Nodes, pressure: Pressure) -> Option<u32>;
    /// Hears of an entry that was chosen and has left: from which list, and its key's hash.
    fn evicted(&mut self, queue: Queue, hash: KeyHash);
    /// Checks that lists and counts agree; returns how many entries it has.
    fn validate(&self, nodes: &impl Nodes) -> Result<usize, String>;
}

/// The policy of a shard, chosen at run time; a branch that predicts well, no virtual call.
#[derive(Debug)]
pub(crate) enum AnyPolicy {
    S3Fifo(S3Fifo),
    Lru(Lru),
}

/// Calls the same method of whichever policy it is.
macro_rules! dispatch {
    ($self:ident, $policy:ident => $call:expr) => {
        match $self {
            AnyPolicy::S3Fifo($policy) => $call,
            AnyPolicy::Lru($policy) => $call,
        }
    };
}

impl AnyPolicy {
    pub(crate) fn new(eviction: Eviction) -> Self {
        match eviction {
            Eviction::S3Fifo => Self::S3Fifo(S3Fifo::default()),
            Eviction::Adaptive => Self::S3Fifo(S3Fifo::adaptive()),
            Eviction::Lru => Self::Lru(Lru::default()),
        }
    }
}

impl Policy for AnyPolicy {
    #[inline]
    fn prefetch(&self, hash: KeyHash) {
        dispatch!(self, policy => policy.prefetch(hash));
    }

    fn next_victim(&self) -> Option<u32> {
        dispatch!(self, policy => policy.next_victim())
    }

    fn admit(&mut self, nodes: &mut impl Nodes, slot: u32, hash: KeyHash) {
        dispatch!(self, policy => policy.admit(nodes, slot, hash));
    }

    #[inline]
    fn hit_is_mark(&self) -> bool {
        dispatch!(self, policy => policy.hit_is_mark())
    }

    fn hit(&mut self, nodes: &mut impl Nodes, slot: u32) {
        dispatch!(self, policy => policy.hit(nodes, slot));
    }

    fn detach(&mut self, nodes: &mut impl Nodes, slot: u32) {
        dispatch!(self, policy => policy.detach(nodes, slot));
    }

    fn attach(&mut self, nodes: &mut impl Nodes, slot: u32) {
        dispatch!(self, policy => policy.attach(nodes, slot));
    }

    fn victim(&mut self, nodes: &mut impl Nodes, pressure: Pressure) -> Option<u32> {
        dispatch!(self, policy => policy.victim(nodes, pressure))
    }

    fn evicted(&mut self, queue: Queue, hash: KeyHash) {
        dispatch!(self, policy => policy.evicted(queue, hash));
    }

    fn validate(&self, nodes: &impl Nodes) -> Result<usize, String> {
        dispatch!(self, policy => policy.validate(nodes))
    }
}
