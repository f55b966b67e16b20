//! A doubly linked list through the entries' nodes, with the youngest entry at the head and the oldest at the tail.
//!
//! **Invariants.** `len` and `weight` are the sums over the list's entries, and every node's `prev` and `next` match its
//! neighbours'. A node is in at most one list.

use super::{Limit, NIL, Nodes, Queue};

/// One queue of a policy. Every operation is O(1), except [`validate`](Self::validate).
#[derive(Debug)]
pub(super) struct List {
    head: u32,
    tail: u32,
    len: usize,
    weight: u64,
}

impl Default for List {
    fn default() -> Self {
        Self {
            head: NIL,
            tail: NIL,
            len: 0,
            weight: 0,
        }
    }
}

impl List {
    /// Returns the number of entries.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Returns the slot of the oldest entry.
    pub(super) fn tail(&self) -> Option<u32> {
        (self.tail != NIL).then_some(self.tail)
    }

    /// Returns the list's size in the unit of the exceeded limit.
    pub(super) const fn size(&self, limit: Limit) -> u64 {
        match limit {
            Limit::Entries => self.len as u64,
            Limit::Weight => self.weight,
        }
    }

    /// Adds an entry as the youngest.
    pub(super) fn push_head(&mut self, nodes: &mut impl Nodes, slot: u32) {
        let old = std::mem::replace(&mut self.head, slot);
        let node = nodes.node_mut(slot);
        (node.prev, node.next) = (NIL, old);
        self.weight += u64::from(node.weight);
        self.len += 1;
        if old == NIL {
            self.tail = slot;
        } else {
            nodes.node_mut(old).prev = slot;
        }
    }

    /// Removes the oldest entry, which is in `slot`.
    pub(super) fn pop_tail(&mut self, nodes: &mut impl Nodes, slot: u32) {
        let node = nodes.node(slot);
        self.weight -= u64::from(node.weight);
        self.len -= 1;
        self.tail = node.prev;
        if self.tail == NIL {
            self.head = NIL;
        } else {
            nodes.node_mut(self.tail).next = NIL;
        }
    }

    /// Removes an entry.
    pub(super) fn remove(&mut self, nodes: &mut impl Nodes, slot: u32) {
        let node = nodes.node(slot);
        let (prev, next) = (node.prev, node.next);
        self.weight -= u64::from(node.weight);
        self.len -= 1;
        if prev == NIL {
            self.head = next;
        } else {
            nodes.node_mut(prev).next = next;
        }
        if next == NIL {
            self.tail = prev;
        } else {
            nodes.node_mut(next).prev = prev;
        }
    }

    /// Makes an entry the youngest.
    pub(super) fn move_to_head(&mut self, nodes: &mut impl Nodes, slot: u32) {
        if self.head != slot {
            self.remove(nodes, slot);
            self.push_head(nodes, slot);
        }
    }

    /// Checks the invariants and returns the length. O(n).
    pub(super) fn validate(&self, nodes: &impl Nodes, queue: Queue) -> Result<usize, String> {
        let (mut slot, mut prev, mut len, mut weight) = (self.head, NIL, 0, 0);
        while slot != NIL {
            let node = nodes.node(slot);
            if node.prev != prev {
                return Err(format!("slot {slot}: prev is {}, not {prev}", node.prev));
            }
            if node.queue() != queue {
                return Err(format!(
                    "slot {slot} of queue {:?} is linked in queue {queue:?}",
                    node.queue()
                ));
            }
            len += 1;
            weight += u64::from(node.weight);
            if len > self.len {
                return Err(format!(
                    "queue {queue:?} is longer than its count of {}",
                    self.len
                ));
            }
            (prev, slot) = (slot, node.next);
        }
        if (prev, len, weight) != (self.tail, self.len, self.weight) {
            return Err(format!(
                "queue {queue:?}: tail, length, weight are {prev}, {len}, {weight}, counted as {self:?}"
            ));
        }
        Ok(len)
    }
}
