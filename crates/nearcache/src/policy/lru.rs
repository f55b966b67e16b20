//! Least recently used: the order of Django's `LocMemCache`.

use super::list::List;
use super::{Nodes, Policy, Pressure, Queue};
use crate::key::KeyHash;

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
    fn hit_is_mark(&self) -> bool {
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

    fn victim(&mut self, nodes: &mut impl Nodes, _: Pressure) -> Option<u32> {
        let slot = self.list.tail()?;
        self.list.remove(nodes, slot);
        Some(slot)
    }

    fn evicted(&mut self, _: Queue, _: KeyHash) {}

    fn validate(&self, nodes: &impl Nodes) -> Result<usize, String> {
        self.list.validate(nodes, Queue::Small)
    }
}
