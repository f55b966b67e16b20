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

use lru::Lru;
use s3_fifo::S3Fifo;

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

/// What a policy keeps with each entry: 20 bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    /// The neighbour towards the head (younger end) of the list.
    pub(crate) prev: u32,
    /// The neighbour towards the tail (older end) of the list.
    pub(crate) next: u32,
    /// What the entry counts against the capacity.
    pub(crate) weight: u32,
    /// Lower half of the key's hash: by this a ghost is known.
    pub(crate) fingerprint: u32,
    /// How often it was asked for lately, as far as the policy counts.
    pub(crate) frequency: u8,
    /// Which of the policy's lists it is in.
    pub(crate) queue: u8,
}

impl Node {
    pub(crate) const fn new(fingerprint: u32, weight: u32) -> Self {
        Self {
            prev: NIL,
            next: NIL,
            weight,
            fingerprint,
            frequency: 0,
            queue: 0,
        }
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
    /// Takes in an entry that was not there before.
    fn admit(&mut self, nodes: &mut impl Nodes, slot: u32);
    /// The entry was asked for.
    fn hit(&mut self, nodes: &mut impl Nodes, slot: u32);
    /// The entry leaves, not for want of room.
    fn detach(&mut self, nodes: &mut impl Nodes, slot: u32);
    /// A detached entry returns, with its history, as the youngest of its list.
    fn attach(&mut self, nodes: &mut impl Nodes, slot: u32);
    /// Chooses the entry to evict and detaches it; `None` if there is no entry.
    fn victim(&mut self, nodes: &mut impl Nodes, pressure: Pressure) -> Option<u32>;
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
    fn admit(&mut self, nodes: &mut impl Nodes, slot: u32) {
        dispatch!(self, policy => policy.admit(nodes, slot));
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

    fn validate(&self, nodes: &impl Nodes) -> Result<usize, String> {
        dispatch!(self, policy => policy.validate(nodes))
    }
}
