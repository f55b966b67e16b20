//! S3-FIFO: two FIFO queues and a ghost, as published or adaptive.
//!
//! Yang, Zhang, Qiu, Yue & Rashmi, "FIFO queues are all you need for cache eviction", SOSP 2023.
//!
//! A new entry is *probationary*: it enters the *small* queue. At the small queue's tail it is promoted to the *main* queue, where it is
//! *protected*, if it was used more than once; otherwise it is evicted, and its fingerprint is added to the *ghost*. A key that
//! the ghost has enters main at once. At main's tail, a used entry goes back to the head, and its frequency is decremented.
//!
//! Promotion requires a frequency above 1. With 1 as enough, main fills up with pairs of requests that are never repeated (the
//! `corda` trace falls from 33 % hits to none).
//!
//! **Invariants.** Every attached entry is in exactly one queue, and its node's queue bit says which.

use super::adaptation::Adaptation;
use super::ghost::Ghosts;
use super::list::List;
use super::{Limit, Nodes, Policy, Queue};
use crate::key::KeyHash;

/// The small queue's share as published: one tenth.
const SMALL_SHARE: u64 = 10;
/// An entry at the small queue's tail is promoted if its frequency is above this.
const PROMOTE_ABOVE: u32 = 1;
/// The most entries that one search for a victim passes over. It bounds the work of an insertion into a large cache in which
/// every entry was used.
const MAX_STEPS: usize = 1024;

/// The S3-FIFO policy.
#[derive(Debug, Default)]
pub(crate) struct S3Fifo {
    small: List,
    main: List,
    /// The keys that the small queue evicted and, in the adaptive policy, main.
    ghosts: Ghosts,
    /// `None` for the policy as published.
    adaptation: Option<Adaptation>,
}

impl S3Fifo {
    /// Makes the adaptive policy.
    pub(crate) fn adaptive() -> Self {
        Self {
            adaptation: Some(Adaptation::default()),
            ..Self::default()
        }
    }

    fn list(&mut self, queue: Queue) -> &mut List {
        match queue {
            Queue::Small => &mut self.small,
            Queue::Main => &mut self.main,
        }
    }

    /// Returns whether the next victim comes from the small queue: it has its share (rounded down, with the new entry counted
    /// in), or main is empty.
    fn evicts_from_small(&self, limit: Limit) -> bool {
        let (small, main) = (self.small.size(limit), self.main.size(limit));
        let whole = small + main + 1;
        let target = self
            .adaptation
            .as_ref()
            .map_or_else(|| whole / SMALL_SHARE, |adapting| adapting.small_target(whole));
        self.main.len() == 0 || (self.small.len() > 0 && small >= target)
    }

    /// Returns the queue that a new entry enters.
    fn queue_for_new(&mut self, hash: KeyHash) -> Queue {
        let evicted_from = self.ghosts.take(hash);
        if let (Some(adapting), Some(queue)) = (&mut self.adaptation, evicted_from) {
            adapting.on_ghost_hit(queue, &self.ghosts, self.small.len() + self.main.len());
        }
        match evicted_from {
            Some(Queue::Small) => Queue::Main,
            Some(Queue::Main) | None => Queue::Small,
        }
    }

    /// Moves the oldest probationary entry to main, with a frequency of 0.
    fn promote(&mut self, nodes: &mut impl Nodes, slot: u32) {
        self.small.pop_tail(nodes, slot);
        let node = nodes.node_mut(slot);
        node.set_queue(Queue::Main);
        node.set_frequency(0);
        self.main.push_head(nodes, slot);
    }
}

impl Policy for S3Fifo {
    #[inline]
    fn prefetch(&self, hash: KeyHash) {
        self.ghosts.prefetch(hash);
    }

    fn next_victim(&self) -> Option<u32> {
        self.small.tail().or(self.main.tail())
    }

    fn admit(&mut self, nodes: &mut impl Nodes, slot: u32, hash: KeyHash) {
        let queue = self.queue_for_new(hash);
        nodes.node_mut(slot).set_queue(queue);
        self.list(queue).push_head(nodes, slot);
    }

    #[inline]
    fn hit_only_counts(&self) -> bool {
        true
    }

    fn hit(&mut self, nodes: &mut impl Nodes, slot: u32) {
        nodes.node(slot).count_use();
    }

    fn detach(&mut self, nodes: &mut impl Nodes, slot: u32) {
        self.list(nodes.node(slot).queue()).remove(nodes, slot);
    }

    fn attach(&mut self, nodes: &mut impl Nodes, slot: u32) {
        self.list(nodes.node(slot).queue()).push_head(nodes, slot);
    }

    fn victim(&mut self, nodes: &mut impl Nodes, limit: Limit) -> Option<u32> {
        let mut steps = 0;
        loop {
            let may_pass_over = steps < MAX_STEPS;
            steps += 1;
            if self.evicts_from_small(limit) {
                let slot = self.small.tail()?;
                let node = nodes.node(slot);
                let used = node.frequency() > PROMOTE_ABOVE;
                let promoted_unused =
                    !used && self.adaptation.as_mut().is_some_and(Adaptation::promotes_unused);
                if (used || promoted_unused) && may_pass_over {
                    self.promote(nodes, slot);
                    continue;
                }
                self.small.pop_tail(nodes, slot);
                return Some(slot);
            }
            let slot = self.main.tail()?;
            let node = nodes.node_mut(slot);
            if node.frequency() > 0 && may_pass_over {
                node.set_frequency(node.frequency() - 1);
                self.main.move_to_head(nodes, slot);
                continue;
            }
            self.main.pop_tail(nodes, slot);
            return Some(slot);
        }
    }

    fn on_evicted(&mut self, queue: Queue, hash: KeyHash) {
        if queue == Queue::Small || self.adaptation.is_some() {
            // The new entry is counted in.
            let entries = self.small.len() + self.main.len() + 1;
            self.ghosts.insert(queue, hash, entries);
        }
    }

    fn validate(&self, nodes: &impl Nodes) -> Result<usize, String> {
        self.ghosts.validate()?;
        if let Some(adapting) = &self.adaptation {
            adapting.validate()?;
        }
        Ok(self.small.validate(nodes, Queue::Small)? + self.main.validate(nodes, Queue::Main)?)
    }
}
