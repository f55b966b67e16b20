//! LRU: evicts the least recently used entry. One list in the order of last use.

use super::list::List;
use super::{Limit, Nodes, Policy, Queue};
use crate::key::KeyHash;

/// The LRU policy.
#[derive(Debug, Default)]
pub(crate) struct Lru {
    list: List,
}

impl Policy for Lru {
    fn prefetch(&self, _: KeyHash) {}

    fn next_victim(&self) -> Option<u32> {
        self.list.tail()
    }

    fn admit(&mut self, nodes: &mut impl Nodes, slot: u32, _: KeyHash) {
        self.list.push_head(nodes, slot);
    }

    #[inline]
    fn hit_only_counts(&self) -> bool {
        false
    }

    fn hit(&mut self, nodes: &mut impl Nodes, slot: u32) {
        self.list.move_to_head(nodes, slot);
    }

    fn detach(&mut self, nodes: &mut impl Nodes, slot: u32) {
        self.list.remove(nodes, slot);
    }

    fn attach(&mut self, nodes: &mut impl Nodes, slot: u32) {
        self.list.push_head(nodes, slot);
    }

    fn victim(&mut self, nodes: &mut impl Nodes, _: Limit) -> Option<u32> {
        let slot = self.list.tail()?;
        self.list.remove(nodes, slot);
        Some(slot)
    }

    fn on_evicted(&mut self, _: Queue, _: KeyHash) {}

    fn validate(&self, nodes: &impl Nodes) -> Result<usize, String> {
        self.list.validate(nodes, Queue::Small)
    }
}
