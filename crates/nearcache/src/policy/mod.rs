//! Eviction policies: which entry is evicted when a limit is exceeded.
//!
//! A policy owns no entries. It links them in lists through the [`Node`] that every entry has, which it reaches by slot number
//! through [`Nodes`], and owns only the ends of the lists and the ghosts. There is one file per policy:
//!
//! - [`s3_fifo`]: S3-FIFO as published, and with [`adaptation`] the adaptive policy, which is the default;
//! - [`lru`]: least recently used.
//!
//! To add a policy: a file here that implements [`Policy`], and a variant in [`Eviction`] and in [`AnyPolicy`].
//!
//! **Invariant.** Every entry of a shard is in exactly one list of its policy, except between [`Policy::detach`] and
//! [`Policy::attach`].
//!
//! **Concurrency.** A policy belongs to one shard, whose lock guards it.

mod adaptation;
mod ghost;
mod list;
mod lru;
mod s3_fifo;

use std::cell::Cell;

use lru::Lru;
use s3_fifo::S3Fifo;

use crate::key::KeyHash;

/// The slot number that means "no slot".
pub(crate) const NIL: u32 = u32::MAX;

/// The eviction policy of a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Eviction {
    /// S3-FIFO with a small queue whose share adapts to the traffic. Close to LRU where only recency counts, and resistant to
    /// loops and scans.
    #[default]
    Adaptive,
    /// S3-FIFO (Yang, Zhang, Qiu, Yue & Rashmi, "FIFO queues are all you need for cache eviction", SOSP 2023),
    /// which promotes entries that are used more than once. Resistant to scans.
    S3Fifo,
    /// Least recently used.
    Lru,
}

impl Eviction {
    /// The bytes that the ghosts take for each entry of a full cache: 2 to 4.
    pub(crate) const BYTES_PER_ENTRY: usize = 3;
}

/// The part of an entry that belongs to the policy, and the stamp of its value: 16 bytes.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// The neighbour towards the head (younger end) of the list.
    pub(crate) prev: u32,
    /// The neighbour towards the tail (older end) of the list.
    pub(crate) next: u32,
    /// The entry's weight.
    pub(crate) weight: u32,
    /// From the lowest bit: 2 bits of frequency, 1 of queue, 29 of stamp. In a cell, so that a hit can count the use through a
    /// shared reference instead of a second lookup.
    packed: Cell<u32>,
}

const FREQUENCY_BITS: u32 = 2;
const FREQUENCY_MASK: u32 = (1 << FREQUENCY_BITS) - 1;
const QUEUE_BIT: u32 = 1 << FREQUENCY_BITS;
const STAMP_SHIFT: u32 = FREQUENCY_BITS + 1;

impl Node {
    /// Makes the node of a new entry, which is in no list.
    pub(crate) const fn new(weight: u32, stamp: Stamp) -> Self {
        Self {
            prev: NIL,
            next: NIL,
            weight,
            packed: Cell::new(stamp.0 << STAMP_SHIFT),
        }
    }

    /// Returns how often the entry was used, up to 3.
    pub(crate) const fn frequency(&self) -> u32 {
        self.packed.get() & FREQUENCY_MASK
    }

    /// Sets the frequency, limited to 3.
    pub(crate) fn set_frequency(&mut self, frequency: u32) {
        *self.packed.get_mut() = self.packed.get() & !FREQUENCY_MASK | frequency.min(FREQUENCY_MASK);
    }

    /// Counts a use. Does not write once the frequency is 3, so that a hot entry's cache line stays clean.
    #[inline]
    pub(crate) fn count_use(&self) {
        if self.frequency() < FREQUENCY_MASK {
            // The frequency is in the lowest bits.
            self.packed.set(self.packed.get() + 1);
        }
    }

    /// Returns the queue that the entry is in.
    pub(crate) const fn queue(&self) -> Queue {
        if self.packed.get() & QUEUE_BIT == 0 {
            Queue::Small
        } else {
            Queue::Main
        }
    }

    /// Sets the queue that the entry is in.
    pub(crate) fn set_queue(&mut self, queue: Queue) {
        *self.packed.get_mut() =
            self.packed.get() & !QUEUE_BIT | if queue == Queue::Main { QUEUE_BIT } else { 0 };
    }

    /// Returns the stamp of the entry's value.
    pub(crate) const fn stamp(&self) -> Stamp {
        Stamp(self.packed.get() >> STAMP_SHIFT)
    }

    /// Sets the stamp of the entry's value.
    pub(crate) fn set_stamp(&mut self, stamp: Stamp) {
        *self.packed.get_mut() = self.packed.get() & (FREQUENCY_MASK | QUEUE_BIT) | stamp.0 << STAMP_SHIFT;
    }
}

/// One of a policy's lists. A policy with one list uses `Small`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// Holds the probationary entries.
    Small,
    /// Holds the protected entries.
    Main,
}

/// The number of the shard's write that stored a value, by which an update recognises the value that it read. Wraps around at
/// 2^29: an update that computes during exactly that many writes of the shard could mistake a later value for the one it read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp(u32);

impl Stamp {
    /// Returns the stamp after this one.
    pub(crate) const fn next(self) -> Self {
        Self((self.0 + 1) & (u32::MAX >> STAMP_SHIFT))
    }
}

/// Gives access to the entries' nodes by slot number.
pub(crate) trait Nodes {
    /// Returns the node of the entry in a slot.
    fn node(&self, slot: u32) -> &Node;
    /// Returns the node of the entry in a slot, to be changed.
    fn node_mut(&mut self, slot: u32) -> &mut Node;
}

/// A limit of the capacity that is exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    Entries,
    Weight,
}

/// Chooses the entries to evict. Every method is O(1), amortized for `victim`, except `validate`.
pub(crate) trait Policy {
    /// Prefetches the memory that is needed when a key of this hash is admitted or evicted.
    fn prefetch(&self, hash: KeyHash);
    /// Returns the slot of the entry that is likely to be the next victim.
    fn next_victim(&self) -> Option<u32>;
    /// Adds a new entry.
    fn admit(&mut self, nodes: &mut impl Nodes, slot: u32, hash: KeyHash);
    /// Returns whether [`Node::count_use`] is all that a hit has to do.
    fn hit_only_counts(&self) -> bool;
    /// Notes that an entry was used.
    fn hit(&mut self, nodes: &mut impl Nodes, slot: u32);
    /// Removes an entry that is not evicted.
    fn detach(&mut self, nodes: &mut impl Nodes, slot: u32);
    /// Adds a detached entry again, with its frequency, as the youngest of its queue.
    fn attach(&mut self, nodes: &mut impl Nodes, slot: u32);
    /// Chooses the entry to evict and detaches it. Returns `None` if there is no entry.
    fn victim(&mut self, nodes: &mut impl Nodes, limit: Limit) -> Option<u32>;
    /// Notes that a victim was evicted, with the queue it was in and its key's hash.
    fn on_evicted(&mut self, queue: Queue, hash: KeyHash);
    /// Checks the invariants and returns the number of entries. O(n).
    fn validate(&self, nodes: &impl Nodes) -> Result<usize, String>;
}

/// The policy of a shard, chosen at run time. A match costs less than a virtual call, because its branch is predicted well.
#[derive(Debug)]
pub(crate) enum AnyPolicy {
    S3Fifo(S3Fifo),
    Lru(Lru),
}

/// Calls a method of the policy, whichever it is.
macro_rules! dispatch {
    ($self:ident, $policy:ident => $call:expr) => {
        match $self {
            AnyPolicy::S3Fifo($policy) => $call,
            AnyPolicy::Lru($policy) => $call,
        }
    };
}

impl AnyPolicy {
    /// Makes an empty policy.
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
    fn hit_only_counts(&self) -> bool {
        dispatch!(self, policy => policy.hit_only_counts())
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

    fn victim(&mut self, nodes: &mut impl Nodes, limit: Limit) -> Option<u32> {
        dispatch!(self, policy => policy.victim(nodes, limit))
    }

    fn on_evicted(&mut self, queue: Queue, hash: KeyHash) {
        dispatch!(self, policy => policy.on_evicted(queue, hash));
    }

    fn validate(&self, nodes: &impl Nodes) -> Result<usize, String> {
        dispatch!(self, policy => policy.validate(nodes))
    }
}
