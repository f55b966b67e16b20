//! The entries of a shard: one vector, addressed by slot number. A slot keeps its number for the entry's whole life.

use crate::clock::Timestamp;
use crate::policy::{NIL, Node, Nodes};

/// One slot: an entry, or a place for one.
#[derive(Debug)]
pub(super) struct Slot<V> {
    pub(super) node: Node,
    /// Which of the shard's writes the value came by, so that a writer can tell that what it read is still there.
    pub(super) stamp: u32,
    pub(super) expires: Timestamp,
    pub(super) key: Box<[u8]>,
    /// `None` in a free slot; the next free one is then `node.next`.
    pub(super) value: Option<V>,
}

#[derive(Debug)]
pub(super) struct Slab<V> {
    slots: Vec<Slot<V>>,
    free: u32,
    len: usize,
}

impl<V> Default for Slab<V> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: NIL,
            len: 0,
        }
    }
}

impl<V> Slab<V> {
    /// How many slots there are, free ones included.
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Whether no further entry can be numbered.
    pub(super) fn is_full(&self) -> bool {
        self.free == NIL && self.slots.len() >= NIL as usize
    }

    /// The entry in a slot, if the slot exists and is taken.
    pub(super) fn occupied(&self, slot: u32) -> Option<&Slot<V>> {
        self.slots
            .get(slot as usize)
            .filter(|entry| entry.value.is_some())
    }

    pub(super) fn get(&self, slot: u32) -> &Slot<V> {
        &self.slots[slot as usize]
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> &mut Slot<V> {
        &mut self.slots[slot as usize]
    }

    /// Puts an entry into a free slot; returns its number.
    pub(super) fn insert(&mut self, entry: Slot<V>) -> u32 {
        self.len += 1;
        if self.free == NIL {
            #[allow(clippy::cast_possible_truncation)] // `is_full` is asked before
            let slot = self.slots.len() as u32;
            self.slots.push(entry);
            return slot;
        }
        let slot = self.free;
        self.free = self.get(slot).node.next;
        *self.get_mut(slot) = entry;
        slot
    }

    /// Frees a slot; returns what it held.
    pub(super) fn remove(&mut self, slot: u32) -> Option<V> {
        let free = self.free;
        let place = self.get_mut(slot);
        let value = place.value.take()?;
        place.key = Box::default();
        place.node.next = free;
        self.free = slot;
        self.len -= 1;
        Some(value)
    }
}

impl<V> Nodes for Slab<V> {
    fn node(&self, slot: u32) -> &Node {
        &self.get(slot).node
    }

    fn node_mut(&mut self, slot: u32) -> &mut Node {
        &mut self.get_mut(slot).node
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_takes_one_cache_line_with_its_value_pointer() {
        // A fat pointer is the size of what the Python package stores.
        assert_eq!(size_of::<Slot<Box<[u8]>>>(), 64);
    }
}
