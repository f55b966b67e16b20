//! S3-FIFO: two FIFO queues and a ghost.
//!
//! Yang, Zhang, Qiu, Yue & Rashmi, "FIFO queues are all you need for cache eviction", SOSP 2023.
//!
//! A new entry enters the *small* queue. When it reaches small's tail it moves to *main* if it was asked for more than
//! once, else it is evicted and its fingerprint remembered as a *ghost*; a key that returns as a ghost enters main at
//! once. At main's tail an entry that was asked for goes round again, one credit poorer.
//!
//! Promotion asks for a frequency above 1: with 1 as enough, main fills up with pairs of requests that are never
//! repeated (the `corda` trace collapses from 33 % hits to none).

use super::adaptation::Adaptation;
use super::ghost::Ghosts;
use super::list::List;
use super::{Nodes, Policy, Pressure, Queue};
use crate::key::KeyHash;

/// Small holds a tenth of all.
const SMALL_SHARE: u64 = 10;
/// At small's tail, an entry moves to main if its frequency is above this.
const PROMOTE_ABOVE: u32 = 1;
/// How many entries one search for a victim may pass over, so that one insertion has bounded work even when
/// every entry of a large cache has been asked for.
const MAX_STEPS: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct S3Fifo {
    small: List,
    main: List,
    /// What small gave up, and, if that is asked for, main.
    ghosts: Ghosts,
    /// `None` for the policy as published.
    adaptation: Option<Adaptation>,
}

impl S3Fifo {
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

    /// Whether the next victim is sought in small: if it has its share (with the entry that room is made for, rounded
    /// down), or there is nothing else.
    fn small_is_due(&self, pressure: Pressure) -> bool {
        let (small, main) = (self.small.size(pressure), self.main.size(pressure));
        let whole = small + main + 1;
        let target = self
            .adaptation
            .as_ref()
            .map_or_else(|| whole / SMALL_SHARE, |adapting| adapting.small_target(whole));
        self.main.len() == 0 || (self.small.len() > 0 && small >= target)
    }

    /// Which queue a new entry enters.
    fn entrance(&mut self, hash: KeyHash) -> Queue {
        let left = self.ghosts.take(hash);
        if let (Some(adapting), Some(queue)) = (&mut self.adaptation, left) {
            adapting.was_missed(queue, &self.ghosts, self.small.len() + self.main.len());
        }
        match left {
            Some(Queue::Small) => Queue::Main,
            Some(Queue::Main) | None => Queue::Small,
        }
    }

    fn move_to_main(&mut self, nodes: &mut impl Nodes, slot: u32) {
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
        let queue = self.entrance(hash);
        nodes.node_mut(slot).set_queue(queue);
        self.list(queue).push_head(nodes, slot);
    }

    #[inline]
    fn hit_is_mark(&self) -> bool {
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

    fn victim(&mut self, nodes: &mut impl Nodes, pressure: Pressure) -> Option<u32> {
        let mut steps = 0;
        loop {
            let patient = steps < MAX_STEPS;
            steps += 1;
            if self.small_is_due(pressure) {
                let slot = self.small.tail()?;
                let node = nodes.node(slot);
                let earned = node.frequency() > PROMOTE_ABOVE;
                let spared = !earned && self.adaptation.as_mut().is_some_and(Adaptation::spares_unasked);
                if (earned || spared) && patient {
                    self.move_to_main(nodes, slot);
                    continue;
                }
                self.small.pop_tail(nodes, slot);
                return Some(slot);
            }
            let slot = self.main.tail()?;
            let node = nodes.node_mut(slot);
            if node.frequency() > 0 && patient {
                node.set_frequency(node.frequency() - 1);
                self.main.move_to_head(nodes, slot);
                continue;
            }
            self.main.pop_tail(nodes, slot);
            return Some(slot);
        }
    }

    fn evicted(&mut self, queue: Queue, hash: KeyHash) {
        if queue == Queue::Small || self.adaptation.is_some() {
            // With the entry that room is made for.
            let entries = self.small.len() + self.main.len() + 1;
            self.ghosts.remember(queue, hash, entries);
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
